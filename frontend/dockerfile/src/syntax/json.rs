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
    fn other_value_in_an_array_is_found() {
        assert_eq!(form(r#"["a", 1]"#), JsonForm::OtherValue(Span::new(6, 7)));
        assert_eq!(form(r#"[["a"]]"#), JsonForm::OtherValue(Span::new(1, 6)));
        assert_eq!(form("[null]"), JsonForm::OtherValue(Span::new(1, 5)));
    }
}
