//! CopyIgnoredFile: what is copied from the context is not kept out of it.

use super::{COPY_IGNORED_FILE, Report};
use crate::compile::IgnoredPaths;
use crate::syntax::Span;

/// Patterns that leave nothing of the context.
const EVERYTHING: [&str; 3] = ["*", "**", "**/*"];

/// Checks the source `path` of a COPY or ADD, which is the `keyword`.
pub(crate) fn check(
    keyword: &str,
    path: &str,
    span: Span,
    ignored: &dyn IgnoredPaths,
    report: &mut Report,
) {
    let path = clean(path);
    if !is_missing(&path, ignored) {
        return;
    }
    let verb = match keyword {
        "ADD" => "Add",
        _ => "Copy",
    };
    let message = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
    report.report(&COPY_IGNORED_FILE, span, message);
}

/// Returns `path` without `.` and `..` of the middle; `.` for nothing.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    match (root, parts.join("/")) {
        ("", rest) if rest.is_empty() => ".".to_owned(),
        (root, rest) => format!("{root}{rest}"),
    }
}

fn is_missing(path: &str, ignored: &dyn IgnoredPaths) -> bool {
    let patterns = ignored.patterns();
    let exceptions = || {
        patterns
            .iter()
            .filter_map(|pattern| pattern.strip_prefix('!'))
    };
    let relative = path.trim_start_matches('/');
    if path == "." || relative.is_empty() {
        // The context itself is always there: only what it holds can be gone.
        let is_emptied = |pattern: &String| EVERYTHING.contains(&pattern.as_str());
        return patterns.iter().any(is_emptied) && exceptions().next().is_none();
    }
    ignored.excludes(relative) && !exceptions().any(|exception| may_bring_back(exception, relative))
}

/// Says whether `exception` may match `path` or something below it.
///
/// Where it can't be known without the files, the answer is yes.
fn may_bring_back(exception: &str, path: &str) -> bool {
    let mut wanted = path.split('/');
    for part in exception.trim_matches('/').split('/') {
        if part == "**" {
            return true;
        }
        let Some(name) = wanted.next() else {
            return true;
        };
        if !is_pattern(part) && !is_pattern(name) && unescaped(part) != unescaped(name) {
            return false;
        }
    }
    // All of the exception matched: it is the path itself, or a directory above it.
    true
}

fn is_pattern(part: &str) -> bool {
    let mut characters = part.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    false
}

fn unescaped(part: &str) -> String {
    let mut characters = part.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_cleaned() {
        let cases = [
            ("./a", "a"),
            ("a//b/", "a/b"),
            ("a/../b", "b"),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("/../a", "/a"),
            ("../a", "../a"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn exception_brings_back_what_it_may_match() {
        let cases = [
            ("sub/b.txt", "sub/a.txt", false),
            ("sub/a.txt", "sub/a.txt", true),
            ("sub/a.txt", "sub", true),
            ("sub", "sub/a.txt", true),
            ("other", "sub/a.txt", false),
            ("sub/a.txt", "sub/*.txt", true),
            ("sub/*.md", "sub/a.txt", true),
            ("**/a.txt", "sub/b", true),
            (r"su\.b/keep.txt", "su.b", true),
        ];
        for (exception, path, expected) in cases {
            assert_eq!(
                may_bring_back(exception, path),
                expected,
                "{exception} {path}"
            );
        }
    }
}
