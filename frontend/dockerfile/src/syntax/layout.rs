//! A file as pieces that follow each other without a gap: what a formatter starts from.

use super::Span;

/// A piece of a file. It is small, as there are several for each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    start: u32,
    end: u32,
}

impl Piece {
    /// Returns where it stands; it begins where the piece before it ends.
    pub fn span(self) -> Span {
        Span::new(self.start as usize, self.end as usize)
    }
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
        // What lies behind 4 GiB has no place any more.
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let start = self.pieces.last().map_or(0, |piece| piece.end);
        if end > start {
            self.pieces.push(Piece { kind, start, end });
        }
    }

    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }
}
