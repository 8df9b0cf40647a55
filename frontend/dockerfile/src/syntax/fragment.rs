//! Pieces of a logical line that know where they came from.

use std::ops::Range;

use super::{Escape, LogicalLine, Span, SpanMap, Word};

/// A piece of a logical line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment<'a> {
    text: &'a str,
    at: usize,
    map: &'a SpanMap,
}

/// Says whether `character` separates words of an instruction.
pub(super) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

impl<'a> Fragment<'a> {
    /// Returns the whole of `line`.
    pub(crate) fn of(line: &'a LogicalLine) -> Self {
        Self {
            text: &line.text,
            at: 0,
            map: &line.map,
        }
    }

    pub(crate) fn text(self) -> &'a str {
        self.text
    }

    pub(crate) fn is_empty(self) -> bool {
        self.text.is_empty()
    }

    /// Returns the piece `range` of it; nothing where the range does not fit.
    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        match self.text.get(range.clone()) {
            Some(text) => Self {
                text,
                at: self.at + range.start,
                map: self.map,
            },
            None => Self {
                text: "",
                at: self.at + self.text.len(),
                map: self.map,
            },
        }
    }

    /// Returns the piece from `start` on.
    pub(crate) fn skip(self, start: usize) -> Self {
        self.slice(start..self.text.len())
    }

    /// Returns it without white space at both ends.
    pub(crate) fn trim(self) -> Self {
        let rest = self.text.trim_start();
        let text = rest.trim_end();
        Self {
            text,
            at: self.at + (self.text.len() - rest.len()),
            map: self.map,
        }
    }

    /// Returns where it stands in the source.
    pub(crate) fn span(self) -> Span {
        self.map.span(self.at..self.at + self.text.len())
    }

    /// Returns it as a word.
    pub(crate) fn word(self) -> Word {
        Word::new(self.text, self.span())
    }

    /// Returns what stands before and after the first `separator`.
    pub(crate) fn cut(self, separator: char) -> Option<(Self, Self)> {
        let at = self.text.find(separator)?;
        Some((self.slice(0..at), self.skip(at + separator.len_utf8())))
    }

    /// Returns the first word and what follows the blanks after it.
    pub(crate) fn cut_word(self) -> (Self, Self) {
        let end = self.text.find(is_blank).unwrap_or(self.text.len());
        (self.slice(0..end), self.skip(end).trim())
    }

    /// Returns its words, separated by blanks; quotes mean nothing here.
    pub(crate) fn words(self) -> Vec<Self> {
        let base = self.text.as_ptr() as usize;
        let words = self.text.split(is_blank).filter(|word| !word.is_empty());
        words
            .map(|word| {
                let start = word.as_ptr() as usize - base;
                self.slice(start..start + word.len())
            })
            .collect()
    }

    /// Returns its words; white space in quotes or after the escape character is kept.
    pub(crate) fn quoted_words(self, escape: Escape) -> Vec<Self> {
        let mut words = Vec::new();
        let mut start = None;
        let mut quote = None;
        let mut is_escaped = false;
        for (at, character) in self.text.char_indices() {
            if start.is_none() && !character.is_whitespace() {
                start = Some(at);
            }
            if is_escaped {
                is_escaped = false;
                continue;
            }
            match quote {
                // Nothing is escaped between single quotes.
                _ if character == escape.character() && quote != Some('\'') => is_escaped = true,
                Some(open) if character == open => quote = None,
                Some(_) => {}
                None if matches!(character, '\'' | '"') => quote = Some(character),
                None if character.is_whitespace() => {
                    words.extend(start.take().map(|start| self.slice(start..at)));
                }
                None => {}
            }
        }
        words.extend(start.map(|start| self.skip(start)));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogicalLine {
        let mut map = SpanMap::default();
        map.push(0, 100, text.len());
        LogicalLine {
            text: text.into(),
            map,
            ..LogicalLine::default()
        }
    }

    #[test]
    fn blanks_separate_words() {
        let line = line(" a \t 'b  c' ");
        let words: Vec<_> = Fragment::of(&line)
            .words()
            .iter()
            .map(|word| word.text())
            .collect();
        assert_eq!(words, ["a", "'b", "c'"]);
    }

    #[test]
    fn quotes_and_escapes_keep_white_space_in_a_word() {
        let cases: [(&str, &[&str]); 6] = [
            ("a b", &["a", "b"]),
            ("a='b c' d", &["a='b c'", "d"]),
            (r#"a="b \" c" d"#, &[r#"a="b \" c""#, "d"]),
            (r"a=b\ c d", &[r"a=b\ c", "d"]),
            (r"a='b\' c", &[r"a='b\'", "c"]),
            ("a='b c", &["a='b c"]),
        ];
        for (text, expected) in cases {
            let line = line(text);
            let words = Fragment::of(&line).quoted_words(Escape::Backslash);
            let words: Vec<_> = words.iter().map(|word| word.text()).collect();
            assert_eq!(words, expected, "{text}");
        }
    }

    #[test]
    fn word_knows_its_place() {
        let line = line("COPY  a b");
        let (_, rest) = Fragment::of(&line).cut_word();
        assert_eq!(rest.words()[1].word(), Word::new("b", Span::new(108, 109)));
    }
}
