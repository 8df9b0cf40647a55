//! The JSON form of arguments: `["one", "two"]`.

use serde_json::value::RawValue;

use super::{Fragment, Span, Word};

/// What arguments are when they are tried as a JSON array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonForm {
    /// An array of strings.
    Strings(Vec<Word>),
    /// An array that holds something else, there.
    OtherValue(Span),
    /// Not a JSON array: another form is meant.
    Absent,
}

/// Tries `arguments` as a JSON array.
pub(crate) fn json_form(arguments: Fragment<'_>) -> JsonForm {
    let arguments = arguments.trim();
    let text = arguments.text();
    if !text.starts_with('[') {
        return JsonForm::Absent;
    }
    let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        return JsonForm::Absent;
    };
    let base = text.as_ptr() as usize;
    let mut words = Vec::with_capacity(values.len());
    for value in values {
        // The values borrow from the text.
        let start = (value.get().as_ptr() as usize).saturating_sub(base);
        let span = arguments.slice(start..start + value.get().len()).span();
        match serde_json::from_str::<String>(value.get()) {
            Ok(string) => words.push(Word::new(string, span)),
            Err(_) if value.get().starts_with('"') => return JsonForm::Absent,
            Err(_) => return JsonForm::OtherValue(span),
        }
    }
    JsonForm::Strings(words)
}

/// What was meant as the JSON form and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MalformedJson {
    /// Where it stops to be JSON.
    pub(crate) span: Span,
    /// What to do, if that is known.
    pub(crate) help: Option<&'static str>,
}

/// Returns what is wrong with `arguments` if they look like the JSON form and are not.
///
/// White space around them is cut off already. They do if they begin with `["` or `['`, which no command does, and end with `]`.
pub(crate) fn malformed_json(arguments: Fragment<'_>) -> Option<MalformedJson> {
    let text = arguments.text();
    let is_meant = (text.starts_with("[\"") || text.starts_with("['")) && text.ends_with(']');
    if !is_meant {
        return None;
    }
    let error = serde_json::from_str::<Vec<&RawValue>>(text).err()?;
    // A logical line is one line, so the column is the number of bytes up to the error.
    let at = error.column().saturating_sub(1).min(text.len() - 1);
    let at = (0..=at).rev().find(|at| text.is_char_boundary(*at))?;
    let length = text[at..].chars().next().map_or(0, char::len_utf8);
    let before = text[..at].trim_end();
    let help = match &text[at..at + length] {
        "'" => Some("strings stand in double quotes"),
        "]" if before.ends_with(',') => Some("drop the comma at the end"),
        _ if before.ends_with('\\') => Some("write a backslash as `\\\\`"),
        _ => None,
    };
    let span = arguments.slice(at..at + length).span();
    Some(MalformedJson { span, help })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{LogicalLine, SpanMap};

    fn form(text: &str) -> JsonForm {
        let mut map = SpanMap::default();
        map.push(0, 0, text.len());
        let line = LogicalLine {
            text: text.into(),
            map,
            ..LogicalLine::default()
        };
        json_form(Fragment::of(&line))
    }

    #[test]
    fn array_of_strings_is_the_json_form() {
        let word = |text: &str, start, end| Word::new(text, Span::new(start, end));
        assert_eq!(form("[]"), JsonForm::Strings(vec![]));
        let words = vec![word("a b", 2, 7), word("c\n", 8, 13)];
        assert_eq!(form(r#" ["a b","c\n"] "#), JsonForm::Strings(words));
    }

    #[test]
    fn invalid_json_is_another_form() {
        let texts = [
            "a",
            "",
            "['a']",
            r#"["a""#,
            r#"["a",]"#,
            r#"["a"] b"#,
            "[a]",
            r#"["\ud800"]"#,
        ];
        for text in texts {
            assert_eq!(form(text), JsonForm::Absent, "{text}");
        }
        assert_eq!(form(&"[".repeat(100_000)), JsonForm::Absent);
    }

    #[test]
    fn json_form_that_is_no_json_is_found_where_it_stops_to_be() {
        let malformed = |text: &str| {
            let mut map = SpanMap::default();
            map.push(0, 0, text.len());
            let line = LogicalLine {
                text: text.into(),
                map,
                ..LogicalLine::default()
            };
            let found = malformed_json(Fragment::of(&line))?;
            Some((found.span.start, found.help))
        };
        let quotes = Some("strings stand in double quotes");
        let cases = [
            ("['a']", Some((1, quotes))),
            (r#"["a", 'b']"#, Some((6, quotes))),
            (r#"["a",]"#, Some((5, Some("drop the comma at the end")))),
            (
                r#"["C:\x"]"#,
                Some((5, Some("write a backslash as `\\\\`"))),
            ),
            (r#"["a" "b"]"#, Some((5, None))),
            (r#"["a"] && ["b"]"#, Some((6, None))),
            (r#"["ü" x]"#, Some((6, None))),
            (r#"["a", "b"]"#, None),
            ("[ -e /a ]", None),
            (r#"[ "$a" = b ]"#, None),
            (r#"["a"#, None),
        ];
        for (text, expected) in cases {
            assert_eq!(malformed(text), expected, "{text}");
        }
    }

    #[test]
    fn other_value_in_an_array_is_found() {
        assert_eq!(form(r#"["a", 1]"#), JsonForm::OtherValue(Span::new(6, 7)));
        assert_eq!(form(r#"[["a"]]"#), JsonForm::OtherValue(Span::new(1, 6)));
        assert_eq!(form("[null]"), JsonForm::OtherValue(Span::new(1, 5)));
    }
}
