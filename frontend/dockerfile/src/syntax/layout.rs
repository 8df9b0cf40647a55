//! A file as pieces that follow each other without a gap: what a formatter starts from.

use super::Span;

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// Where it stands; it begins where the piece before it ends.
    pub span: Span,
}

/// What a piece of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PieceKind {
    /// White space before a comment or an instruction, or all there is on a line.
    Space,
    /// A line end: `\n` and the carriage returns before it.
    LineEnd,
    /// A comment or a directive, from its `#` to the end of the line.
    Comment,
    /// What a line adds to an instruction.
    Instruction,
    /// The escape character that continues an instruction, and the blanks after it.
    Continuation,
    /// The lines of a heredoc, with their line ends.
    HeredocBody,
    /// The line that closes a heredoc, without its line end.
    HeredocEnd,
}

/// The pieces so far.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pieces: Vec<Piece>,
}

impl Layout {
    /// Adds the piece that ends at `end`; nothing if it is empty.
    pub(super) fn push(&mut self, kind: PieceKind, end: usize) {
        let start = self.end();
        if end > start {
            let span = Span::new(start, end);
            self.pieces.push(Piece { kind, span });
        }
    }

    /// Returns where the last piece ends.
    pub(super) fn end(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.span.end)
    }

    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }
}
