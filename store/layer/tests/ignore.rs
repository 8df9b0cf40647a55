//! Ignore patterns against a matcher that is slow, short and written from the rules.
//!
//! Covers what engines at hand get wrong and thus cannot judge: `!` together with `**`.

use std::path::{Path, PathBuf};

use kiln_layer::pattern::IgnorePatterns;
use proptest::prelude::*;

/// Whether the last pattern that matches `path` or a directory above it excludes.
fn excluded_by_the_rules(patterns: &[String], path: &Path) -> bool {
    let matching = patterns.iter().rev().find(|written| {
        let pattern = written.trim_start_matches('!');
        let mut above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
        above.any(|path| matches(pattern, path.to_str().unwrap()))
    });
    matching.is_some_and(|pattern| !pattern.starts_with('!'))
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_prefix("**") {
        // `**.log`, `**a/b`: with literal characters alone, the end of the path.
        Some(suffix) if is_literal(suffix) => path.ends_with(suffix),
        _ => matches_from(pattern.as_bytes(), path.as_bytes()),
    }
}

fn is_literal(suffix: &str) -> bool {
    !suffix.is_empty() && !suffix.starts_with('/') && !suffix.contains(['*', '?'])
}

fn matches_from(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [b'*', b'*'] | [b'*', b'*', b'/'] => true,
        [b'*', b'*', b'/', rest @ ..] | [b'*', b'*', rest @ ..] => {
            let after_slash = |at: usize| at == 0 || path[at - 1] == b'/';
            let mut starts = (0..=path.len()).filter(|at| after_slash(*at));
            starts.any(|at| matches_from(rest, &path[at..]))
        }
        [b'*', rest @ ..] => {
            let end = path.iter().position(|byte| *byte == b'/');
            (0..=end.unwrap_or(path.len())).any(|at| matches_from(rest, &path[at..]))
        }
        [b'?', rest @ ..] => {
            matches!(path, [byte, after @ ..] if *byte != b'/' && matches_from(rest, after))
        }
        [literal, rest @ ..] => {
            matches!(path, [byte, after @ ..] if byte == literal && matches_from(rest, after))
        }
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "ba", ".a"])
}

fn pattern() -> impl Strategy<Value = String> {
    let component = prop::sample::select(vec![
        "a", "b", "ab", "*", "a*", "*a", "?", "?a", "**", "**", "**a", "a**", "**b*",
    ]);
    let components = prop::collection::vec(component, 1..4);
    (prop::bool::ANY, components).prop_map(|(includes, components)| {
        let sign = if includes { "!" } else { "" };
        format!("{sign}{}", components.join("/"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn patterns_exclude_what_the_rules_say(
        patterns in prop::collection::vec(pattern(), 1..6),
        names in prop::collection::vec(name(), 1..5),
    ) {
        let compiled = IgnorePatterns::new(&patterns).unwrap();
        let path: PathBuf = names.iter().collect();
        let excluded = excluded_by_the_rules(&patterns, &path);
        prop_assert_eq!(compiled.matches(&path), excluded, "{:?}", path);
        let pruned = path.ancestors().skip(1).any(|above| {
            !above.as_os_str().is_empty() && compiled.can_prune(above)
        });
        prop_assert!(!pruned || excluded, "{:?} is never reached", path);
    }
}
