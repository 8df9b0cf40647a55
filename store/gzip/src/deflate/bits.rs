//! Bits into bytes: the first bit of a byte is its lowest one.

/// Bytes to which numbers of bits are added.
///
/// At most 56 bits may be added between two flushes, and room must have been made for them.
pub(super) struct BitWriter<'a> {
    output: &'a mut Vec<u8>,
    /// Where the next byte goes; what lies behind it is only room.
    position: usize,
    /// Bits that are no whole byte yet, lowest first.
    pending: u64,
    pending_bits: u32,
}

/// A flush writes whole words.
const WORD_BYTES: usize = 8;

/// Where the length stands in a word that is a code and its length.
pub(super) const WORD_LENGTH_SHIFT: u32 = 16;

#[inline(always)]
fn code_of(word: u32) -> u64 {
    u64::from(word & 0xffff)
}

/// Returns both codes in a row, and how many bits they have.
#[inline(always)]
fn joined(first: u32, second: u32) -> (u64, u32) {
    let (bits, more) = (first >> WORD_LENGTH_SHIFT, second >> WORD_LENGTH_SHIFT);
    (code_of(first) | code_of(second) << (bits & 63), bits + more)
}

impl<'a> BitWriter<'a> {
    /// Returns a writer that appends to `output`.
    pub(super) fn new(output: &'a mut Vec<u8>) -> Self {
        Self {
            position: output.len(),
            output,
            pending: 0,
            pending_bits: 0,
        }
    }

    /// Makes room for `bytes` more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        let needed = self.position + bytes + 2 * WORD_BYTES;
        if self.output.len() < needed {
            self.output.resize(needed, 0);
        }
    }

    /// Adds the `count` lowest bits of `bits`; the others are 0.
    #[inline(always)]
    pub(super) fn add(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.pending_bits;
        self.pending_bits += count;
    }

    /// Writes whole bytes; fewer than eight bits stay.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        let room = &mut self.output[self.position..self.position + WORD_BYTES];
        room.copy_from_slice(&self.pending.to_le_bytes());
        self.position += (self.pending_bits / 8) as usize;
        self.pending >>= self.pending_bits & !7;
        self.pending_bits &= 7;
    }

    /// Adds and flushes the bits and their number that `of` returns for each of `items`: as often
    /// as there is something to add, so that all there is to know of the place stays in registers.
    #[inline(always)]
    pub(super) fn add_each<T: Copy>(&mut self, items: &[T], of: impl Fn(T) -> (u64, u32)) {
        let (mut position, mut pending) = (self.position, self.pending);
        let mut pending_bits = self.pending_bits;
        for item in items {
            let (bits, count) = of(*item);
            pending |= bits << pending_bits;
            pending_bits += count;
            let room = &mut self.output[position..position + WORD_BYTES];
            room.copy_from_slice(&pending.to_le_bytes());
            position += (pending_bits / 8) as usize;
            pending >>= pending_bits & !7;
            pending_bits &= 7;
        }
        (self.position, self.pending, self.pending_bits) = (position, pending, pending_bits);
    }

    /// Adds `bytes` as `words` say by byte: each is a code of less than 15 bits, and its length
    /// from [`WORD_LENGTH_SHIFT`] on.
    pub(super) fn add_bytes(&mut self, bytes: &[u8], words: &[u32; 256]) {
        // Four at a time: that is as much as one flush takes.
        let (fours, rest) = bytes.as_chunks::<4>();
        self.flush();
        self.add_each(fours, |[one, two, three, four]| {
            let one = words[usize::from(one)];
            let two = words[usize::from(two)];
            let three = words[usize::from(three)];
            let four = words[usize::from(four)];
            let (first, first_bits) = joined(one, two);
            let (second, second_bits) = joined(three, four);
            (
                first | second << (first_bits & 63),
                first_bits + second_bits,
            )
        });
        self.add_each(rest, |byte| {
            let word = words[usize::from(byte)];
            (code_of(word), word >> WORD_LENGTH_SHIFT)
        });
    }

    /// Fills up the last byte with zeros.
    pub(super) fn align(&mut self) {
        self.pending_bits = self.pending_bits.next_multiple_of(8);
        self.flush();
    }

    /// Adds whole bytes; it must be aligned.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.output[self.position..self.position + bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len();
    }

    /// Fills up the last byte and cuts off what is only room.
    pub(super) fn finish(mut self) {
        self.reserve(WORD_BYTES);
        self.align();
        self.output.truncate(self.position);
    }
}
