//! Lines of a Dockerfile with marks before those that are meant.

use kiln_dockerfile::SourceFile;
use std::fmt::Write;
use std::ops::RangeInclusive;

/// What frames the lines.
const RULE: &str = "--------------------";

/// Returns the lines `marked` of `source` and a few around them.
pub fn excerpt(source: &SourceFile, marked: &RangeInclusive<usize>) -> String {
    let lines: Vec<&str> = source.text().split('\n').collect();
    let (first, last) = (*marked.start(), *marked.end().min(&lines.len()));
    let mut text = String::new();
    if first > lines.len() || first == 0 {
        return text;
    }
    let shown = around(first, last, lines.len());
    let _ = writeln!(text, "{}:{first}\n{RULE}", source.name());
    for number in shown {
        let mark = match marked.contains(&number) {
            true => ">>>",
            false => "   ",
        };
        let _ = writeln!(text, " {number:3} | {mark} {}", lines[number - 1]);
    }
    let _ = writeln!(text, "{RULE}");
    text
}

/// Returns the lines `first..=last` and some around them, more around a single one.
fn around(first: usize, last: usize, count: usize) -> RangeInclusive<usize> {
    let wanted = if first == last { 4 } else { 2 };
    let (mut start, mut end) = (first, last);
    let mut added = 0;
    while added < wanted {
        if start > 1 {
            start -= 1;
            added += 1;
        }
        if end < count {
            end += 1;
            added += 1;
        }
        // A round counts even where there is nothing to add: a short file ends it.
        added += 1;
    }
    start..=end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_shown_with_its_neighbours() {
        let source = SourceFile::new("Dockerfile", "FROM a\nCMD b\n");
        let expected = "\
Dockerfile:2
--------------------
   1 |     FROM a
   2 | >>> CMD b
   3 |     \n--------------------
";
        assert_eq!(excerpt(&source, &(2..=2)), expected);
    }

    #[test]
    fn lines_around_are_few() {
        for (first, last, count, expected) in [
            (5, 5, 20, 3..=7),
            (1, 1, 20, 1..=3),
            (20, 20, 20, 18..=20),
            (5, 7, 20, 4..=8),
            (1, 1, 1, 1..=1),
        ] {
            assert_eq!(
                around(first, last, count),
                expected,
                "{first}-{last} of {count}"
            );
        }
    }
}
