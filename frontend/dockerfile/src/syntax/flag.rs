//! Flags: the words `--name` and `--name=value` before an instruction's arguments.

use super::{Fragment, Span, Word};

/// A flag as written.
#[derive(Debug, Clone)]
pub(crate) struct Flag<'a> {
    /// The name without `--`.
    pub(crate) name: String,
    /// Where `--name` stands.
    pub(crate) name_span: Span,
    /// The value, quotes removed; `None` without `=`.
    pub(crate) value: Option<Word>,
    /// The value in the line, if it has no quotes or escapes in it.
    pub(crate) verbatim: Option<Fragment<'a>>,
}

/// Returns the flags at the start of `line` and what follows them, or follows a `--`.
pub(crate) fn cut_flags(line: Fragment<'_>) -> (Vec<Flag<'_>>, Fragment<'_>) {
    let mut flags = Vec::new();
    let mut rest = line.trim();
    while rest.text().starts_with("--") {
        let (text, length) = unquote(rest.text());
        let raw = rest.slice(0..length);
        rest = rest.skip(length).trim();
        if text == "--" {
            break;
        }
        flags.push(Flag::of(raw, &text));
    }
    (flags, rest)
}

impl<'a> Flag<'a> {
    fn of(raw: Fragment<'a>, text: &str) -> Self {
        let after_dashes = text.get(2..).unwrap_or_default();
        let (name, value) = match after_dashes.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (after_dashes, None),
        };
        let (raw_name, raw_value) = raw.cut('=').unwrap_or((raw, raw.skip(raw.text().len())));
        Self {
            name: name.to_owned(),
            name_span: raw_name.span(),
            value: value.map(|value| Word::new(value, raw_value.span())),
            verbatim: value
                .filter(|value| *value == raw_value.text())
                .map(|_| raw_value),
        }
    }
}

/// Returns the first word of `text` without its quotes, and how long it is with them.
///
/// The escape is `\` whatever the file says, in both kinds of quotes, too.
fn unquote(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match quote {
            _ if is_escaped => {
                word.push(character);
                is_escaped = false;
            }
            _ if character == '\\' => is_escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => word.push(character),
            None if matches!(character, '\'' | '"') => quote = Some(character),
            None if character.is_whitespace() => return (word, at),
            None => word.push(character),
        }
    }
    (word, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{LogicalLine, SpanMap};

    /// Returns each flag as `name=value`, and the rest of the line.
    fn flags(text: &str) -> (Vec<String>, String) {
        let mut map = SpanMap::default();
        map.push(0, 0, text.len());
        let line = LogicalLine {
            text: text.into(),
            map,
            ..LogicalLine::default()
        };
        let (flags, rest) = cut_flags(Fragment::of(&line));
        let show = |flag: Flag<'_>| match flag.value {
            Some(value) => format!("{}={}", flag.name, value.text),
            None => flag.name,
        };
        (
            flags.into_iter().map(show).collect(),
            rest.text().to_owned(),
        )
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let cases: [(&str, &[&str], &str); 9] = [
            ("a b", &[], "a b"),
            ("--from=x a b", &["from=x"], "a b"),
            ("--link --chmod=1 a", &["link", "chmod=1"], "a"),
            ("--link a --chmod=1", &["link"], "a --chmod=1"),
            ("--a=1 -- --b=2 c", &["a=1"], "--b=2 c"),
            (r#"--a="x y" b"#, &["a=x y"], "b"),
            (r"--a='x\'y' b", &["a=x'y"], "b"),
            (r"--a=x\ y b", &["a=x y"], "b"),
            ("--a=b=c", &["a=b=c"], ""),
        ];
        for (text, expected, rest) in cases {
            let expected: Vec<_> = expected.iter().map(|flag| (*flag).to_owned()).collect();
            assert_eq!(flags(text), (expected, rest.to_owned()), "{text}");
        }
    }
}
