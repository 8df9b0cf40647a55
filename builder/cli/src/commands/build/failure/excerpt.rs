//! Lines of the Dockerfile with marks at those that failed.

use super::place::{Certainty, Place};
use crate::progress::sanitized;
use kiln_plan::SourceLocation;
use kiln_plan::remote::redacted;
use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

/// Lines of the Dockerfile shown before and after those that failed.
const CONTEXT_LINES: usize = 2;
/// The most lines of an instruction that are shown where the line that failed is known.
const SHOWN_LINES: usize = 12;

/// Adds the lines of `source` at `location`; of several only that of `place` is marked.
pub fn add(text: &mut String, location: &SourceLocation, place: Option<&Place>, source: &str) {
    let _ = writeln!(text, "{}:{}", location.file, start(location, place, source));
    let marked = match place {
        Some(place) => place.line..=place.line,
        None => location.first_line..=location.last_line,
    };
    let shown = shown(location, place);
    let mut last = None;
    for (index, line) in source.lines().enumerate() {
        let number = index + 1;
        let is_start = number == location.first_line && place.is_some();
        if !is_start && !shown.contains(&number) {
            continue;
        }
        if last.is_some_and(|last| last + 1 != number) {
            let _ = writeln!(text, "     | ...");
        }
        last = Some(number);
        let mark = if marked.contains(&number) {
            ">>>"
        } else {
            "   "
        };
        let is_pointed_at = place.is_some_and(|place| place.line == number);
        let shown = match is_pointed_at {
            // What is below it stands at its columns.
            true => Cow::Borrowed(line),
            false => Cow::Owned(without_passwords(line)),
        };
        let _ = writeln!(text, "{number:4} | {mark} {}", sanitized(&shown));
        if let Some(place) = place.filter(|place| place.line == number) {
            add_pointer(text, line, place);
        }
    }
}

/// Returns `line` without the passwords that addresses in it hold.
fn without_passwords(line: &str) -> String {
    line.split_inclusive(char::is_whitespace)
        .map(redacted)
        .collect()
}

/// Returns the line, and the column where it is known.
fn start(location: &SourceLocation, place: Option<&Place>, source: &str) -> String {
    let Some(place) = place else {
        return location.first_line.to_string();
    };
    let line = source.lines().nth(place.line - 1).unwrap_or_default();
    match &place.word {
        Some(word) => format!("{}:{}", place.line, columns(line, word).start + 1),
        None => place.line.to_string(),
    }
}

fn shown(location: &SourceLocation, place: Option<&Place>) -> Range<usize> {
    let length = location.last_line + 1 - location.first_line;
    let (first, last) = match place {
        Some(place) if length > SHOWN_LINES => (place.line - 1, place.line + 1),
        _ => (location.first_line, location.last_line),
    };
    first.saturating_sub(CONTEXT_LINES).max(1)..last + CONTEXT_LINES + 1
}

/// Returns the characters of `line` that its bytes `word` are.
fn columns(line: &str, word: &Range<usize>) -> Range<usize> {
    let count = |end: usize| line.get(..end).map_or(0, |before| before.chars().count());
    count(word.start)..count(word.end)
}

/// Adds carets below the word, or a note that the line is a guess.
fn add_pointer(text: &mut String, line: &str, place: &Place) {
    let note = match place.certainty {
        Certainty::Said => "",
        Certainty::Guess => " it seems to have failed here",
    };
    match &place.word {
        Some(word) => {
            let columns = columns(line, word);
            // Tabs stay, so that the carets stand below the word however wide they are.
            let blank = |character: char| if character == '\t' { '\t' } else { ' ' };
            let indent: String = line.chars().take(columns.start).map(blank).collect();
            let carets = "^".repeat(columns.len().max(1));
            let _ = writeln!(text, "     |     {indent}{carets}{note}");
        }
        None if !note.is_empty() => {
            let _ = writeln!(text, "     |    {note}");
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(lines: (usize, usize), place: Option<Place>, source: &str) -> String {
        let location = SourceLocation {
            file: "Dockerfile".to_owned(),
            first_line: lines.0,
            last_line: lines.1,
        };
        let mut text = String::new();
        add(&mut text, &location, place.as_ref(), source);
        text
    }

    #[test]
    fn failed_lines_are_marked_with_lines_around_them() {
        let text = excerpt((2, 3), None, "FROM a\nRUN b \\\n  c\nRUN d\nRUN e\nRUN f\n");
        let expected = "Dockerfile:2\n   1 |     FROM a\n   2 | >>> RUN b \\\n   3 | >>>   c\n   \
            4 |     RUN d\n   5 |     RUN e\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn known_line_is_marked_alone_with_its_word() {
        let place = Place {
            line: 3,
            word: Some(2..3),
            certainty: Certainty::Guess,
        };
        let text = excerpt((2, 3), Some(place), "FROM a\nRUN b \\\n  c\n");
        let expected = "Dockerfile:3:3\n   1 |     FROM a\n   2 |     RUN b \\\n   3 | >>>   c\n     \
            |       ^ it seems to have failed here\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_instruction_is_shown_around_the_line_only() {
        let mut source = "FROM a\nRUN <<END\n".to_owned();
        (3..40).for_each(|number| source.push_str(&format!("line {number}\n")));
        let place = Place {
            line: 30,
            word: None,
            certainty: Certainty::Said,
        };
        let text = excerpt((2, 39), Some(place), &source);
        assert!(
            text.contains("   2 |     RUN <<END\n     | ...\n  27 |"),
            "{text}"
        );
        assert!(text.contains("  30 | >>> line 30\n"), "{text}");
        assert!(!text.contains("line 20"), "{text}");
    }
}
