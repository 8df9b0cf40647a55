//! A source text with a name and lines.

use super::Span;

/// A Dockerfile's text under the name that messages call it by.
///
/// A byte order mark is dropped, so spans and columns don't count it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    replaced: Option<Span>,
}

/// A line and a column, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl SourceFile {
    /// Returns the file `name` with `text`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text: String = text.into();
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            text,
            line_starts,
            replaced: None,
        }
    }

    /// Returns the file `name` with the text that `bytes` are in UTF-8.
    ///
    /// Bytes that are not UTF-8 become U+FFFD each; parsing the file warns of the first.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        let mut source = Self::new(name, String::from_utf8_lossy(bytes));
        if std::str::from_utf8(bytes).is_err() {
            let replaced = source
                .text
                .find(char::REPLACEMENT_CHARACTER)
                .unwrap_or_default();
            let length = char::REPLACEMENT_CHARACTER.len_utf8();
            source.replaced = Some(Span::new(replaced, replaced + length));
        }
        source
    }

    /// Returns where the first byte stood that was not UTF-8.
    pub(crate) fn replaced(&self) -> Option<Span> {
        self.replaced
    }

    /// Returns the name that messages show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of `span`; empty where the span does not fit the text.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Returns the line, from 1, that holds the byte at `offset`.
    pub fn line(&self, offset: usize) -> usize {
        self.line_starts
            .partition_point(|start| *start <= offset)
            .max(1)
    }

    /// Returns the line and column of the byte at `offset`.
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let start = self.line_starts[line - 1];
        let before = &self.text.as_bytes()[start..offset.clamp(start, self.text.len().max(start))];
        // A byte that continues a UTF-8 character starts no column.
        let characters = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Position {
            line,
            column: characters + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_counts_lines_and_characters_from_one() {
        let source = SourceFile::new("Dockerfile", "\u{feff}ab\nüx\n");
        for (offset, line, column) in [(0, 1, 1), (2, 1, 3), (3, 2, 1), (5, 2, 2), (7, 3, 1)] {
            assert_eq!(
                source.position(offset),
                Position { line, column },
                "offset {offset}"
            );
        }
        assert_eq!(source.position(1000).line, 3);
    }
}
