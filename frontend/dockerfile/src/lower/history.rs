//! History entries in the words that other builders use.

use kiln_oci::HistoryEntry;
use std::fmt::Write;

const COMMENT: &str = "buildkit.dockerfile.v0";

/// Returns the entry of an instruction that makes no layer.
pub(super) fn metadata(created_by: String) -> HistoryEntry {
    HistoryEntry {
        created_by: Some(created_by),
        comment: Some(COMMENT.to_owned()),
        empty_layer: true,
        ..HistoryEntry::default()
    }
}

/// Returns the entry of an instruction that makes a layer.
pub(super) fn layer(created_by: String) -> HistoryEntry {
    HistoryEntry {
        empty_layer: false,
        ..metadata(created_by)
    }
}

/// Returns the entry of RUN, COPY and ADD.
pub(super) fn built_layer(created_by: &str) -> HistoryEntry {
    layer(format!("{created_by} # buildkit"))
}

/// Returns the text of a RUN: arguments that it sees, then what is run.
pub(super) fn run(visible: &[(String, String)], arguments: &[String]) -> String {
    let mut text = "RUN ".to_owned();
    if !visible.is_empty() {
        let _ = write!(text, "|{} ", visible.len());
    }
    for (name, value) in visible {
        let _ = write!(text, "{name}={value} ");
    }
    text + &arguments.join(" ")
}

/// Returns `words` as `["a" "b"]`.
pub(super) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Returns `words` as `[a b]`.
pub(super) fn plain_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// Returns `text` as Go quotes it: escapes for what is not printable, the rest as it is.
fn quoted(text: &str) -> String {
    let mut result = String::from('"');
    for character in text.chars() {
        match character {
            '"' => result.push_str("\\\""),
            _ => push_escaped(&mut result, character),
        }
    }
    result.push('"');
    result
}

fn push_escaped(result: &mut String, character: char) {
    match character {
        '\\' => result.push_str("\\\\"),
        '\u{7}' => result.push_str("\\a"),
        '\u{8}' => result.push_str("\\b"),
        '\u{c}' => result.push_str("\\f"),
        '\n' => result.push_str("\\n"),
        '\r' => result.push_str("\\r"),
        '\t' => result.push_str("\\t"),
        '\u{b}' => result.push_str("\\v"),
        '\0'..='\u{1f}' | '\u{7f}' => {
            let _ = write!(result, "\\x{:02x}", u32::from(character));
        }
        '\u{80}'..='\u{a0}' | '\u{ad}' => {
            let _ = write!(result, "\\u{:04x}", u32::from(character));
        }
        _ => result.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_go_does() {
        let table = [
            ("a b", "\"a b\""),
            ("it's \"x\"", "\"it's \\\"x\\\"\""),
            ("\\\n\t\u{1}", "\"\\\\\\n\\t\\x01\""),
            ("größe", "\"größe\""),
        ];
        for (text, expected) in table {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn run_names_the_arguments_it_sees() {
        let visible = [("A".to_owned(), "b".to_owned())];
        let arguments = ["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()];
        assert_eq!(run(&visible, &arguments), "RUN |1 A=b /bin/sh -c make");
        assert_eq!(run(&[], &arguments), "RUN /bin/sh -c make");
    }
}
