//! Byte ranges of the source, and the way back to them from joined lines.

use std::cell::Cell;
use std::ops::Range;

/// A byte range of the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// Returns the span `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the smallest span that covers both.
    pub fn join(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Returns the span as a range, to slice text with.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// Where the pieces of a joined line came from.
///
/// A piece is a run of bytes that lie next to each other in the source, too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpanMap {
    pieces: Vec<Piece>,
    /// The piece that was asked for last: words are asked for in order.
    last: Cell<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    joined: usize,
    source: usize,
    length: usize,
}

impl SpanMap {
    /// Forgets all pieces.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.last.set(0);
    }

    /// Adds the next piece: `length` bytes at `joined` that came from `source`.
    ///
    /// Pieces are added in ascending order of `joined`; an empty piece is not kept.
    pub fn push(&mut self, joined: usize, source: usize, length: usize) {
        if length > 0 || self.pieces.is_empty() {
            self.pieces.push(Piece {
                joined,
                source,
                length,
            });
        }
    }

    /// Returns the source span of `range` of the joined text, holes included.
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.source_of(range.start);
        if range.end <= range.start {
            return Span::new(start, start);
        }
        // The end is exclusive: the byte before it says in which piece it lies.
        let end = self.source_of(range.end - 1) + 1;
        Span::new(start, end.max(start))
    }

    fn source_of(&self, offset: usize) -> usize {
        let last = self.last.get();
        let index = match self.holds(last, offset) {
            true => Some(last),
            false if self.holds(last + 1, offset) => Some(last + 1),
            false => self
                .pieces
                .partition_point(|piece| piece.joined <= offset)
                .checked_sub(1),
        };
        let Some(piece) = index.and_then(|index| self.pieces.get(index)) else {
            return self.pieces.first().map_or(0, |piece| piece.source);
        };
        self.last.set(index.unwrap_or_default());
        piece.source + (offset - piece.joined).min(piece.length)
    }

    /// Says whether the byte at `offset` lies in the piece `index`, or after it and before
    /// the next one.
    fn holds(&self, index: usize, offset: usize) -> bool {
        let begins = |piece: &Piece| piece.joined <= offset;
        self.pieces.get(index).is_some_and(begins)
            && !self.pieces.get(index + 1).is_some_and(begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_maps_through_the_hole_between_two_pieces() {
        let mut map = SpanMap::default();
        map.push(0, 10, 5);
        map.push(5, 20, 5);
        assert_eq!(map.span(0..5), Span::new(10, 15));
        assert_eq!(map.span(5..7), Span::new(20, 22));
        assert_eq!(map.span(3..7), Span::new(13, 22));
        assert_eq!(map.span(10..10), Span::new(25, 25));
    }
}
