//! Substitutions that the shell has, too, compared with the shell.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::process::Command;

/// A variable's value, if it has one, and a substitution of it.
#[derive(Clone, Debug)]
struct Case {
    value: Option<String>,
    text: String,
}

/// What a failed substitution is in the output.
const FAILED: &str = "<failed>";

/// The value of `y` in every case.
const OTHER: (&str, &str) = ("y", "a*");

fn case() -> impl Strategy<Value = Case> {
    let value = prop::option::of("[ab/.*?\\\\ -]{0,6}");
    (value, substitution()).prop_map(|(value, text)| Case { value, text })
}

fn substitution() -> impl Strategy<Value = String> {
    // Without globs in quotes: they are live here, as in other builders, and not in a shell.
    let word_piece = select(
        &[
            "a",
            "b",
            "/",
            ".",
            "*",
            "?",
            " ",
            "-",
            "'a b'",
            "\"b\"",
            "\\$",
            "\\\\",
            "\\a",
            "$y",
            "${y}",
            "${y:-b}",
            "${u:-a}",
            "${u-\"$y\"}",
            "${x:+b}",
        ][..],
    );
    let pattern_piece = select(
        &[
            "a", "b", "/", ".", "*", "?", "-", "\\*", "\\?", "\\\\", "$y", "${u:-*}", "${y%?}",
        ][..],
    );
    let word = vec(word_piece, 0..4).prop_map(|pieces| pieces.concat());
    let pattern = vec(pattern_piece, 0..5).prop_map(|pieces| pieces.concat());
    let defaults = (select(&[":-", "-", ":+", "+", ":?", "?"][..]), word);
    let trims = (select(&["#", "##", "%", "%%"][..]), pattern);
    prop_oneof![defaults, trims].prop_map(|(modifier, word)| format!("<${{x{modifier}{word}}}>"))
}

/// Returns what the shell makes of `cases`.
///
/// Without field separators and file names the shell splits and replaces nothing else.
fn by_shell(cases: &[Case]) -> Vec<String> {
    let mut script = format!("set -f; IFS=; {}='{}'\n", OTHER.0, OTHER.1);
    for Case { value, text } in cases {
        script += &match value {
            Some(value) => format!("x='{value}'\n"),
            None => "unset x\n".to_owned(),
        };
        script += &format!(
            "(printf '%s\\n' \\<{}\\>) 2>/dev/null || echo '{FAILED}'\n",
            &text[1..text.len() - 1]
        );
    }
    let output = Command::new("sh").arg("-c").arg(&script).output();
    let output = output.expect("a shell, `sh`");
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(str::to_owned).collect()
}

fn by_us(Case { value, text }: &Case) -> String {
    let x = value.iter().map(|value| ("x", value.as_str()));
    let variables: Vec<_> = x.chain([OTHER]).collect();
    match expand(text, '\\', Quotes::Remove, variables.as_slice()) {
        Ok(expansion) => expansion.text,
        Err(ExpandError {
            kind: ExpandErrorKind::Required { .. },
            ..
        }) => FAILED.to_owned(),
        Err(error) => format!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn substitutions_mean_what_they_mean_in_the_shell(cases in vec(case(), 100)) {
        let expected = by_shell(&cases);
        prop_assert_eq!(expected.len(), cases.len());
        for (case, expected) in cases.iter().zip(expected) {
            prop_assert_eq!(by_us(case), expected, "{:?}", case);
        }
    }
}
