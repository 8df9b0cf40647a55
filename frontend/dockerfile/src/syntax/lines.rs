//! Physical lines to logical lines: comments dropped, continuations joined.

use super::layout::Layout;
use super::{Comment, Directives, Escape, Piece, PieceKind, SourceFile, Span, SpanMap};
use crate::diagnostic::{Code, Diagnostic};

/// An instruction's text, its continuation lines joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogicalLine {
    /// The text, without white space before it.
    pub(crate) text: String,
    /// Where its bytes came from.
    pub(crate) map: SpanMap,
    /// From its first byte to the end of its last line.
    pub(crate) span: Span,
    /// The line of the file that it begins on, from 1.
    pub(crate) first_line: usize,
    /// The last line of the file that it has a part of.
    pub(crate) last_line: usize,
}

/// A line of the file, without its line end.
#[derive(Debug, Clone, Copy)]
struct PhysicalLine<'a> {
    text: &'a str,
    start: usize,
    /// Where its line end ends.
    end: usize,
}

/// The most bytes of a line of the file, its line end not counted.
const MAX_LINE_BYTES: usize = (64 << 10) - 1;

/// The most long lines that are reported.
const MOST_LONG_LINES: usize = 10;

/// Reads a file line by line.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    source: &'a SourceFile,
    at: usize,
    /// The line of the file that was read last, from 1.
    line: usize,
    escape: Escape,
    layout: Layout,
    long_lines: usize,
    /// The comments so far.
    pub(crate) comments: Vec<Comment>,
    /// What was wrong so far.
    pub(crate) findings: Vec<Diagnostic>,
}

impl<'a> Lines<'a> {
    /// Starts at the top of `source` and reads its directives.
    pub(crate) fn new(source: &'a SourceFile) -> (Self, Directives) {
        let mut lines = Self::with_escape(source, Escape::default());
        let directives = super::directive::read(&mut lines);
        lines.escape = directives.escape;
        (lines, directives)
    }

    /// Starts at the top of `source`, which has no directives.
    pub(crate) fn with_escape(source: &'a SourceFile, escape: Escape) -> Self {
        Self {
            source,
            at: 0,
            line: 0,
            escape,
            layout: Layout::default(),
            long_lines: 0,
            comments: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Reads the next instruction's line into `line`; says whether there is one.
    pub(crate) fn next_line(&mut self, line: &mut LogicalLine) -> bool {
        loop {
            let Some(first) = self.next_physical() else {
                return false;
            };
            let first = first.trim_start();
            if self.take_blank(first) || self.take_comment(first) {
                continue;
            }
            self.layout.push(PieceKind::Space, first.start);
            self.join(first, line);
            if !line.text.trim().is_empty() {
                return true;
            }
        }
    }

    /// Returns the comment that the next line is, and takes it; else takes nothing.
    pub(super) fn next_comment(&mut self) -> Option<Comment> {
        let (_, rest) = self.rest();
        let is_blank = |character: char| character.is_whitespace() && character != '\n';
        if !rest.trim_start_matches(is_blank).starts_with('#') {
            return None;
        }
        let line = self.next_physical()?;
        self.take_comment(line);
        self.comments.last().cloned()
    }

    /// Returns the lines up to `delimiter`, which stands alone on its line, and the end of
    /// that line; takes them all. `None`, with everything taken, if it never comes.
    pub(crate) fn take_body(&mut self, delimiter: &str, strip_tabs: bool) -> Option<(Span, usize)> {
        let start = self.at;
        while let Some(line) = self.next_physical() {
            let tabs = if strip_tabs {
                line.text.trim_start_matches('\t')
            } else {
                line.text
            };
            if tabs == delimiter {
                let body = Span::new(start, line.start);
                self.layout.push(PieceKind::HeredocBody, body.end);
                self.push_rest(PieceKind::HeredocEnd, line);
                return Some((body, line.start + line.text.len()));
            }
        }
        self.layout.push(PieceKind::HeredocBody, self.at);
        None
    }

    /// Returns the line of the file that was read last, from 1.
    pub(crate) fn last_line(&self) -> usize {
        self.line
    }

    /// Returns the text that has not been read, and where it begins.
    pub(crate) fn rest(&self) -> (usize, &'a str) {
        let start = self.at;
        (start, self.source.text().get(start..).unwrap_or_default())
    }

    /// Returns the pieces of what was read, and forgets them.
    pub(crate) fn take_pieces(&mut self) -> Vec<Piece> {
        // What was not read, because too much is wrong before it, is one piece.
        let end = self.source.text().len();
        self.layout.push(PieceKind::Instruction, end);
        self.layout.take()
    }

    fn join(&mut self, first: PhysicalLine<'a>, line: &mut LogicalLine) {
        line.text.clear();
        line.map.clear();
        line.span = Span::new(first.start, first.start);
        line.first_line = self.line;
        let mut empty_line = None;
        let mut last = line.span;
        let mut next = Some(first);
        while let Some(physical) = next {
            let (kept, goes_on) = self.cut_continuation(physical.text);
            line.map.push(line.text.len(), physical.start, kept.len());
            line.text.push_str(kept);
            line.span.end = physical.start + physical.text.len();
            line.last_line = self.line;
            self.layout
                .push(PieceKind::Instruction, physical.start + kept.len());
            self.push_rest(PieceKind::Continuation, physical);
            last = Span::new(physical.start, line.span.end);
            next = if goes_on {
                self.next_continuation(&mut empty_line)
            } else {
                None
            };
        }
        if let Some(span) = empty_line {
            let message = "Empty continuation line";
            let finding = Diagnostic::warning(Code::NO_EMPTY_CONTINUATION, span, message)
                .with_label(last, "the instruction goes on up to here");
            self.findings
                .push(finding.with_help("remove the empty line, or put a `#` on it"));
        }
    }

    /// Returns the next line that goes on the instruction, past comments and empty lines.
    fn next_continuation(&mut self, empty_line: &mut Option<Span>) -> Option<PhysicalLine<'a>> {
        loop {
            let line = self.next_physical()?;
            if self.take_comment(line) {
                continue;
            }
            if !self.take_blank(line) {
                return Some(line);
            }
            empty_line.get_or_insert(Span::new(line.start, line.start + line.text.len()));
        }
    }

    /// Returns what the line adds to the instruction, and whether the next one goes on.
    fn cut_continuation(&self, text: &'a str) -> (&'a str, bool) {
        let escape = self.escape.character();
        let trimmed = text.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(escape) {
            // An escaped escape character is not at work, however many stand before it.
            Some(kept) if !kept.ends_with(escape) => (kept, true),
            _ => (text, false),
        }
    }

    fn next_physical(&mut self) -> Option<PhysicalLine<'a>> {
        let (start, rest) = self.rest();
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        self.at += length;
        self.line += 1;
        let text = rest[..length].trim_end_matches(['\n', '\r']);
        if text.len() > MAX_LINE_BYTES {
            self.report_long_line(start, text.len());
        }
        let end = self.at;
        Some(PhysicalLine { text, start, end })
    }

    fn report_long_line(&mut self, start: usize, bytes: usize) {
        self.long_lines += 1;
        if self.long_lines > MOST_LONG_LINES {
            return;
        }
        let message = format!("the line has {bytes} bytes, more than {MAX_LINE_BYTES}");
        let finding = Diagnostic::error(Code::LONG_LINE, Span::new(start, start), message);
        let escape = self.escape.character();
        let help = format!("break it with `{escape}`, or put the text in a file and copy that");
        self.findings.push(finding.with_help(help));
    }

    /// Keeps the line if there is nothing on it, and says whether there is nothing.
    fn take_blank(&mut self, line: PhysicalLine<'a>) -> bool {
        let is_blank = line.text.trim_start().is_empty();
        if is_blank {
            self.push_rest(PieceKind::Space, line);
        }
        is_blank
    }

    /// Keeps the line if it is a comment, and says whether it is.
    fn take_comment(&mut self, line: PhysicalLine<'a>) -> bool {
        let line = line.trim_start();
        let Some(text) = line.text.strip_prefix('#') else {
            return false;
        };
        self.layout.push(PieceKind::Space, line.start);
        self.push_rest(PieceKind::Comment, line);
        self.comments.push(Comment {
            text: text.trim().to_owned(),
            span: Span::new(line.start, line.start + line.text.trim_end().len()),
            line: self.line,
        });
        true
    }

    /// Adds what is left of `line` as a piece `kind`, and its line end.
    fn push_rest(&mut self, kind: PieceKind, line: PhysicalLine<'a>) {
        self.layout.push(kind, line.start + line.text.len());
        self.layout.push(PieceKind::LineEnd, line.end);
    }
}

impl PhysicalLine<'_> {
    fn trim_start(self) -> Self {
        let text = self.text.trim_start();
        Self {
            text,
            start: self.start + self.text.len() - text.len(),
            end: self.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, Vec<String>, usize) {
        let source = SourceFile::new("Dockerfile", text);
        let (mut lines, _) = Lines::new(&source);
        let mut read = Vec::new();
        let mut line = LogicalLine::default();
        while lines.next_line(&mut line) {
            read.push(line.text.clone());
        }
        let comments = lines
            .comments
            .iter()
            .map(|comment| comment.text.clone())
            .collect();
        (read, comments, lines.findings.len())
    }

    #[test]
    fn continuation_lines_are_joined() {
        let cases: [(&str, &[&str]); 13] = [
            ("RUN a\nRUN b", &["RUN a", "RUN b"]),
            ("RUN a\r\nRUN b\r\n", &["RUN a", "RUN b"]),
            ("RUN a \\\n  b", &["RUN a   b"]),
            ("RUN a \\ \t\n b", &["RUN a  b"]),
            ("RUN a \\\r\n b", &["RUN a  b"]),
            ("  RUN a\\\nb", &["RUN ab"]),
            ("RUN a \\\n# no\n  # no\n b", &["RUN a  b"]),
            ("RUN a \\\n\n \n b", &["RUN a  b"]),
            ("RUN a \\", &["RUN a "]),
            ("RUN a \\\\\nb", &["RUN a \\\\", "b"]),
            ("RUN a \\\\\\\nb", &["RUN a \\\\\\", "b"]),
            ("\\\n\n", &[]),
            ("# escape=`\nRUN a \\\nRUN b `\nc", &["RUN a \\", "RUN b c"]),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).0, expected, "{text:?}");
        }
    }

    #[test]
    fn hash_starts_a_comment_only_at_the_start_of_a_line() {
        let (lines, comments, _) = read("# one\n  # two\nRUN a # data\nRUN b \\\n  # three\n  c\n");
        assert_eq!(lines, ["RUN a # data", "RUN b   c"]);
        assert_eq!(comments, ["one", "two", "three"]);
    }

    #[test]
    fn empty_continuation_line_is_warned_about_once() {
        assert_eq!(read("RUN a \\\n\n\n b\n\nRUN c").2, 1);
    }

    #[test]
    fn byte_order_mark_is_not_part_of_the_first_line() {
        assert_eq!(read("\u{feff}FROM a").0, ["FROM a"]);
    }

    #[test]
    fn joined_text_maps_back_to_the_source() {
        let source = SourceFile::new("Dockerfile", "  RUN one \\\n# x\n  two");
        let (mut lines, _) = Lines::new(&source);
        let mut line = LogicalLine::default();
        assert!(lines.next_line(&mut line));
        let at = line.text.find("two").expect("the word");
        assert_eq!(source.slice(line.map.span(at..at + 3)), "two");
        assert_eq!(source.slice(line.span), "RUN one \\\n# x\n  two");
    }
}
