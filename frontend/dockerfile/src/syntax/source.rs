//! A source text with a name and lines.

use std::borrow::Cow;

use super::Span;

/// A Dockerfile's text under the name that messages call it by.
///
/// A byte order mark is no part of the text, so spans and columns don't count it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    has_byte_order_mark: bool,
    encoding: Encoding,
}

/// What the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8 throughout.
    Utf8,
    /// UTF-8 except for some bytes, which the text has replaced.
    Broken {
        /// Where the text has replacements, in order.
        replaced: Vec<Span>,
        /// The file as it is.
        bytes: Vec<u8>,
    },
    /// UTF-16: it begins with that byte order mark.
    Utf16 {
        /// The file as it is.
        bytes: Vec<u8>,
    },
}

const BYTE_ORDER_MARK: char = '\u{feff}';

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
        let mut text: String = text.into();
        let has_byte_order_mark = text.starts_with(BYTE_ORDER_MARK);
        if has_byte_order_mark {
            text.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            text,
            line_starts,
            has_byte_order_mark,
            encoding: Encoding::Utf8,
        }
    }

    /// Returns the file `name` with the text that `bytes` are in UTF-8.
    ///
    /// Bytes that are not UTF-8 become U+FFFD each; parsing the file finds them.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self::new(name, text);
        }
        let (text, replaced) = lossy(bytes);
        let mut source = Self::new(name, text);
        let bytes = bytes.to_vec();
        source.encoding = match bytes.as_slice() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Encoding::Utf16 { bytes },
            _ => Encoding::Broken {
                replaced: source.without_mark(replaced),
                bytes,
            },
        };
        source
    }

    fn without_mark(&self, spans: Vec<Span>) -> Vec<Span> {
        let mark = match self.has_byte_order_mark {
            true => BYTE_ORDER_MARK.len_utf8(),
            false => 0,
        };
        let moved = |span: Span| Span::new(span.start - mark, span.end - mark);
        spans.into_iter().map(moved).collect()
    }

    /// Returns what the bytes of the file are.
    pub(crate) fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Returns the file's bytes: what was read, byte order mark and all.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.encoding {
            Encoding::Broken { bytes, .. } | Encoding::Utf16 { bytes } => Cow::Borrowed(bytes),
            Encoding::Utf8 if self.has_byte_order_mark => {
                Cow::Owned(format!("{BYTE_ORDER_MARK}{}", self.text).into_bytes())
            }
            Encoding::Utf8 => Cow::Borrowed(self.text.as_bytes()),
        }
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

/// Returns `bytes` with each that is not UTF-8 replaced, and where that was done.
fn lossy(bytes: &[u8]) -> (String, Vec<Span>) {
    let mut text = String::with_capacity(bytes.len());
    let mut replaced = Vec::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            replaced.push(Span::new(start, text.len()));
        }
    }
    (text, replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_keeps_its_bytes() {
        let files: [&[u8]; 5] = [
            b"",
            b"\xef\xbb\xbfFROM a\r\n",
            b"\xef\xbb\xbf\xffa",
            b"a\xe9\xe9b\n\xc3",
            b"\xff\xfeF\0R\0",
        ];
        for bytes in files {
            let source = SourceFile::from_bytes("Dockerfile", bytes);
            assert_eq!(&*source.bytes(), bytes);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_one_by_one() {
        let source = SourceFile::from_bytes("Dockerfile", b"\xef\xbb\xbfa\xe9\xe9b");
        assert_eq!(source.text(), "a\u{fffd}\u{fffd}b");
        let Encoding::Broken { replaced, .. } = source.encoding() else {
            panic!("{source:?}")
        };
        assert_eq!(replaced, &[Span::new(1, 4), Span::new(4, 7)]);
    }

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
