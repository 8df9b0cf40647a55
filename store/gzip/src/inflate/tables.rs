//! Tables that tell what the next bits mean: one look for most codes, two for long ones.
//!
//! What is refused is what zlib refuses. Specification: RFC 1951, 3.2.

/// Codes of bytes, the end, and lengths: at most 11 bits in one look.
pub(super) const LITERAL_BITS: u32 = 11;
pub(super) const DISTANCE_BITS: u32 = 8;
pub(super) const HEADER_BITS: u32 = 7;

pub(super) const LITERAL_SLOTS: usize = 4096;
pub(super) const DISTANCE_SLOTS: usize = 1024;
pub(super) const HEADER_SLOTS: usize = 128;

const MOST_BITS: usize = 15;

/// What bits mean.
///
/// From the lowest bit: eight with how many bits the code and its extra bits have, eight with
/// the flags and how many the code alone has, sixteen with a byte, the least length or distance,
/// or where the second table begins.
#[derive(Clone, Copy, Default)]
pub(super) struct Meaning(u32);

const CODE_SHIFT: u32 = 8;
const VALUE_SHIFT: u32 = 16;
/// A byte.
const LITERAL: u32 = 1 << 12;
/// Neither a byte nor a length.
const RARE: u32 = 1 << 13;
const SECOND_TABLE: u32 = 1 << 14;
const END: u32 = 1 << 15;
const INVALID: Meaning = Meaning(RARE);

impl Meaning {
    /// Returns the bits of the code and what follows it.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 0x3f
    }

    #[inline(always)]
    pub(super) fn is_literal(self) -> bool {
        self.0 & LITERAL != 0
    }

    #[inline(always)]
    pub(super) fn is_rare(self) -> bool {
        self.0 & RARE != 0
    }

    pub(super) fn is_end(self) -> bool {
        self.0 & END != 0
    }

    #[inline(always)]
    pub(super) fn byte(self) -> u8 {
        (self.0 >> VALUE_SHIFT) as u8
    }

    /// Returns the length or distance that `bits` mean, which begin with the code.
    #[inline(always)]
    pub(super) fn value(self, bits: u64) -> usize {
        let code_bits = (self.0 >> CODE_SHIFT) & 15;
        let extra = (bits & ((1 << self.bits()) - 1)) >> code_bits;
        (self.0 >> VALUE_SHIFT) as usize + extra as usize
    }

    /// Returns a meaning by the symbol that a code stands for.
    fn of(value: u32, extra_bits: u32, flags: u32) -> Self {
        Self(value << VALUE_SHIFT | flags | extra_bits)
    }

    fn with_code_bits(self, code_bits: u32) -> Self {
        Self((self.0 + code_bits) | code_bits << CODE_SHIFT)
    }
}

/// A set of codes.
pub(super) struct Table<const SLOTS: usize> {
    slots: Box<[Meaning; SLOTS]>,
    first_bits: u32,
}

/// The lengths make no set of codes.
#[derive(Debug)]
pub(super) struct BadCodes;

impl<const SLOTS: usize> Table<SLOTS> {
    pub(super) fn new(first_bits: u32) -> Self {
        Self {
            slots: Box::new([INVALID; SLOTS]),
            first_bits,
        }
    }

    /// Returns what the lowest of `bits` mean.
    #[inline(always)]
    pub(super) fn look_up(&self, bits: u64) -> Meaning {
        self.slots[(bits & ((1 << self.first_bits) - 1)) as usize & (SLOTS - 1)]
    }

    /// Returns what the code means that `first` is the beginning of.
    #[inline(always)]
    pub(super) fn second(&self, first: Meaning, bits: u64) -> Meaning {
        if first.0 & SECOND_TABLE == 0 {
            return first;
        }
        let index = (bits >> self.first_bits) & ((1 << first.bits()) - 1);
        self.slots[((first.0 >> VALUE_SHIFT) as usize + index as usize) & (SLOTS - 1)]
    }

    /// Makes the codes those of `lengths`; `meaning` says what symbols stand for.
    pub(super) fn set(
        &mut self,
        lengths: &[u8],
        is_incomplete_allowed: bool,
        meaning: impl Fn(usize) -> Meaning,
    ) -> Result<(), BadCodes> {
        let mut counts = [0_usize; MOST_BITS + 1];
        lengths
            .iter()
            .for_each(|length| counts[usize::from(*length & 15)] += 1);
        counts[0] = 0;
        check(&counts, is_incomplete_allowed)?;
        self.slots.fill(INVALID);
        let first_bits = self.first_bits as usize;
        let mut next_table = 1 << first_bits;
        let mut table = Second::default();
        let mut code = 0_u32;
        let sorted = by_length(lengths, &counts);
        let mut symbols = sorted.iter();
        for length in 1..=MOST_BITS {
            let count = counts[length];
            for symbol in symbols.by_ref().take(count) {
                let symbol = usize::from(*symbol);
                let bits = (code.reverse_bits() >> (u32::BITS - length as u32)) as usize;
                code += 1;
                let found = meaning(symbol).with_code_bits(length as u32);
                if length <= first_bits {
                    self.repeat(bits, 1 << first_bits, 1 << length, found);
                } else {
                    let prefix = bits & ((1 << first_bits) - 1);
                    if table.size == 0 || table.prefix != prefix {
                        table = Second::begin(&counts, length - first_bits, first_bits);
                        (table.prefix, table.start) = (prefix, next_table);
                        next_table += table.size;
                        if next_table > SLOTS {
                            return Err(BadCodes);
                        }
                        let pointer = (table.start as u32) << VALUE_SHIFT | SECOND_TABLE | RARE;
                        self.slots[prefix] = Meaning(pointer | table.size.trailing_zeros());
                    }
                    let (rest, step) = (bits >> first_bits, 1 << (length - first_bits));
                    let (from, to) = (table.start + rest, table.start + table.size);
                    self.repeat(from, to, step, found);
                }
                counts[length] -= 1;
            }
            code <<= 1;
        }
        Ok(())
    }

    fn repeat(&mut self, from: usize, to: usize, step: usize, meaning: Meaning) {
        let places = self.slots[from..to].iter_mut().step_by(step);
        places.for_each(|slot| *slot = meaning);
    }
}

/// Returns the symbols that have codes, the shortest codes first.
fn by_length(lengths: &[u8], counts: &[usize; MOST_BITS + 1]) -> [u16; 320] {
    let mut sorted = [0; 320];
    let mut next = [0; MOST_BITS + 1];
    for length in 1..MOST_BITS {
        next[length + 1] = next[length] + counts[length];
    }
    for (symbol, length) in (0_u16..).zip(lengths) {
        let place = &mut next[usize::from(*length & 15)];
        if *length > 0 {
            sorted[*place % 320] = symbol;
            *place += 1;
        }
    }
    sorted
}

/// A table for the codes that begin with the same bits.
#[derive(Default)]
struct Second {
    prefix: usize,
    start: usize,
    size: usize,
}

impl Second {
    /// Returns one that is just large enough for what is left of the codes: the shortest of
    /// them is `bits` longer than what one look covers.
    fn begin(counts: &[usize; MOST_BITS + 1], bits: usize, first_bits: usize) -> Self {
        let (mut bits, mut left) = (bits, 1_usize << bits);
        while bits + first_bits < MOST_BITS {
            let Some(rest) = left.checked_sub(counts[bits + first_bits]) else {
                break;
            };
            if rest == 0 {
                break;
            }
            left = rest << 1;
            bits += 1;
        }
        Self {
            size: 1 << bits,
            ..Self::default()
        }
    }
}

/// Fails if the codes are too many, or too few; a single code of one bit is allowed to lengths
/// and distances, as is none.
fn check(counts: &[usize; MOST_BITS + 1], is_incomplete_allowed: bool) -> Result<(), BadCodes> {
    let mut left = 1_usize;
    for count in &counts[1..] {
        left = (left << 1).checked_sub(*count).ok_or(BadCodes)?;
    }
    let is_short = counts[2..].iter().all(|count| *count == 0);
    match left == 0 || (is_incomplete_allowed && is_short) {
        true => Ok(()),
        false => Err(BadCodes),
    }
}

/// Returns what a symbol of bytes, the end, or lengths stands for.
pub(super) fn literal(symbol: usize) -> Meaning {
    const BASES: [u16; 29] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115,
        131, 163, 195, 227, 258,
    ];
    const EXTRA_BITS: [u8; 29] = [
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
    ];
    match symbol {
        0..=255 => Meaning::of(symbol as u32, 0, LITERAL),
        256 => Meaning::of(0, 0, RARE | END),
        _ => match (BASES.get(symbol - 257), EXTRA_BITS.get(symbol - 257)) {
            (Some(base), Some(extra)) => Meaning::of((*base).into(), (*extra).into(), 0),
            // Only the fixed codes have these.
            _ => INVALID,
        },
    }
}

/// Returns what a symbol of distances stands for.
pub(super) fn distance(symbol: usize) -> Meaning {
    let symbol = symbol as u32;
    let extra_bits = (symbol / 2).saturating_sub(1);
    match symbol {
        0..=1 => Meaning::of(symbol + 1, 0, 0),
        2..=29 => Meaning::of(((2 + symbol % 2) << extra_bits) + 1, extra_bits, 0),
        _ => INVALID,
    }
}

/// Returns what a symbol of the header stands for: itself.
pub(super) fn header(symbol: usize) -> Meaning {
    Meaning::of(symbol as u32, 0, LITERAL)
}
