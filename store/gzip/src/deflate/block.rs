//! One block: its codes, what they are, and the tokens in them; or its bytes as they are.

use super::Place;
use super::bits::BitWriter;
use super::huffman::{self, Code};
use super::matches::{LENGTH_SLOT, Token, Tokens};
use super::symbols::{
    self, DISTANCE_EXTRA_BITS, DISTANCE_SLOTS, DISTANCE_SYMBOLS, END_OF_BLOCK, LITERAL_SYMBOLS,
};

/// One bit less than the format has room for, so that a token's bits fit a word at any time.
pub(super) const MOST_LITERAL_BITS: usize = 14;
const MOST_DISTANCE_BITS: usize = huffman::MOST_BITS;
const MOST_HEADER_CODE_BITS: usize = 7;
const HEADER_SYMBOLS: usize = 19;
/// The order in which the lengths of the header's own codes are written.
const HEADER_ORDER: [usize; HEADER_SYMBOLS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// More than any header takes.
pub(super) const HEADER_BYTES: usize = 512;
const MOST_STORED_BYTES: usize = u16::MAX as usize;

const STORED: u64 = 0;
const DYNAMIC: u64 = 2;

/// Writes the block `input`, which `tokens` stand for; returns how many bits it takes.
pub(super) fn write(bits: &mut BitWriter<'_>, input: &[u8], tokens: &Tokens, place: Place) -> u64 {
    let literals = literal_counts(tokens);
    let mut distances = [0; DISTANCE_SYMBOLS];
    distances.copy_from_slice(&tokens.distances[..DISTANCE_SYMBOLS]);
    let literal_lengths = huffman::code_lengths(&literals, MOST_LITERAL_BITS);
    let distance_lengths = huffman::code_lengths(&distances, MOST_DISTANCE_BITS);
    let header = Header::of(&literal_lengths, &distance_lengths);
    let token_bits = sum(&literals, &literal_lengths, symbols::literal_extra_bits)
        + sum(&distances, &distance_lengths, |symbol| {
            DISTANCE_EXTRA_BITS[symbol]
        });
    let length = header.bits() + token_bits;
    let bytes = length.div_ceil(8) as usize;
    if bytes >= input.len() + 4 {
        return store(bits, input, place);
    }
    bits.reserve(bytes + HEADER_BYTES);
    begin(bits, &header, place);
    let literal_codes = huffman::codes(&literal_lengths);
    let codes = TokenCodes::of(&literal_codes, &huffman::codes(&distance_lengths));
    codes.write(bits, tokens.as_slice());
    end(bits, literal_codes[END_OF_BLOCK]);
    length
}

/// Writes what stands before a block with codes of its own.
pub(super) fn begin(bits: &mut BitWriter<'_>, header: &Header, place: Place) {
    bits.add(u64::from(place == Place::Last) | DYNAMIC << 1, 3);
    header.write(bits);
}

/// Writes the end of a block, which is `code`.
pub(super) fn end(bits: &mut BitWriter<'_>, code: Code) {
    bits.add(code.bits.into(), code.length);
    bits.flush();
}

/// Writes `input` as it is; returns about how many bits it takes.
pub(super) fn store(bits: &mut BitWriter<'_>, input: &[u8], place: Place) -> u64 {
    let mut rest = input;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(MOST_STORED_BYTES));
        let is_last = behind.is_empty() && place == Place::Last;
        bits.reserve(part.len());
        bits.add(u64::from(is_last) | STORED << 1, 3);
        bits.align();
        let length = part.len() as u64;
        bits.add(length | (!length & 0xffff) << 16, 32);
        bits.flush();
        bits.bytes(part);
        if behind.is_empty() {
            return 8 * input.len() as u64;
        }
        rest = behind;
    }
}

/// Returns how often each symbol of bytes, the end and lengths occurs.
fn literal_counts(tokens: &Tokens) -> [u32; LITERAL_SYMBOLS] {
    let (bytes, lengths) = tokens.literals.split_at(LENGTH_SLOT);
    let mut counts = [0; LITERAL_SYMBOLS];
    counts[..LENGTH_SLOT].copy_from_slice(bytes);
    counts[END_OF_BLOCK] = 1;
    for (code, count) in (0..=u8::MAX).zip(lengths) {
        counts[symbols::length(code).symbol] += count;
    }
    counts
}

/// Returns how many bits all symbols take together, extra ones included.
pub(super) fn sum<const SYMBOLS: usize>(
    counts: &[u32; SYMBOLS],
    lengths: &[u8; SYMBOLS],
    extra_bits: impl Fn(usize) -> u32,
) -> u64 {
    let bits = (0..SYMBOLS).map(|symbol| {
        let each = u32::from(lengths[symbol]) + extra_bits(symbol);
        u64::from(counts[symbol]) * u64::from(each)
    });
    bits.sum()
}

/// What tokens are written as.
///
/// One word each: the code, with a length's extra bits, from the lowest bit on; from bit 32 on
/// how many bits those are; and from bit 48 on how many there are with a distance's extra bits.
struct TokenCodes {
    /// By byte or length slot.
    literals: Box<[u64; 2 * LENGTH_SLOT]>,
    distances: [u64; DISTANCE_SLOTS],
}

impl TokenCodes {
    fn of(literals: &[Code; LITERAL_SYMBOLS], distances: &[Code; DISTANCE_SYMBOLS]) -> Self {
        let word = |code: Code, extra: u32, extra_bits: u32| {
            let bits = u64::from(code.bits | extra << code.length);
            let (length, all) = (code.length, code.length + extra_bits);
            bits | u64::from(length) << 32 | u64::from(all) << 48
        };
        let mut codes = Self {
            literals: Box::new([0; 2 * LENGTH_SLOT]),
            distances: [0; DISTANCE_SLOTS],
        };
        let (bytes, lengths) = codes.literals.split_at_mut(LENGTH_SLOT);
        for (written, code) in bytes.iter_mut().zip(literals) {
            *written = word(*code, 0, 0);
        }
        for (written, code) in lengths.iter_mut().zip(0..=u8::MAX) {
            let length = symbols::length(code);
            *written = word(literals[length.symbol], length.extra, length.extra_bits);
        }
        for (symbol, code) in distances.iter().enumerate() {
            codes.distances[symbol] = word(*code, 0, DISTANCE_EXTRA_BITS[symbol]);
        }
        codes
    }

    /// Writes tokens, all in the same way: what a byte has no use for has no bits.
    fn write(&self, bits: &mut BitWriter<'_>, tokens: &[Token]) {
        bits.add_each(tokens, |token| {
            let literal = self.literals[token.slot() & (2 * LENGTH_SLOT - 1)];
            let distance = self.distances[token.distance_symbol()];
            let literal_bits = (literal >> 48) as u32;
            let behind = (distance & 0xffff) | token.distance_extra() << ((distance >> 32) & 15);
            let all = (literal & 0xffff_ffff) | behind << (literal_bits & 31);
            (all, literal_bits + (distance >> 48) as u32)
        });
    }
}

/// The lengths of a block's codes, as they stand before it.
pub(super) struct Header {
    literal_symbols: usize,
    distance_symbols: usize,
    /// Symbols and their extra bits.
    symbols: Vec<(usize, u64)>,
    lengths: [u8; HEADER_SYMBOLS],
    counts: [u32; HEADER_SYMBOLS],
}

impl Header {
    pub(super) fn of(literals: &[u8; LITERAL_SYMBOLS], distances: &[u8; DISTANCE_SYMBOLS]) -> Self {
        let until_last = |lengths: &[u8], least: usize| {
            let last = lengths.iter().rposition(|length| *length > 0);
            last.map_or(least, |last| least.max(last + 1))
        };
        let literal_symbols = until_last(literals, END_OF_BLOCK + 1);
        let distance_symbols = until_last(distances, 1);
        let all = [&literals[..literal_symbols], &distances[..distance_symbols]].concat();
        let mut symbols = Vec::with_capacity(all.len());
        for run in all.chunk_by(|one, next| one == next) {
            add_run(&mut symbols, run[0], run.len());
        }
        let mut counts = [0; HEADER_SYMBOLS];
        symbols.iter().for_each(|(symbol, _)| counts[*symbol] += 1);
        Self {
            literal_symbols,
            distance_symbols,
            symbols,
            lengths: huffman::code_lengths(&counts, MOST_HEADER_CODE_BITS),
            counts,
        }
    }

    /// Returns how many of the own codes' lengths are written.
    fn own_lengths(&self) -> usize {
        let last = HEADER_ORDER
            .iter()
            .rposition(|symbol| self.lengths[*symbol] > 0);
        last.map_or(4, |last| (last + 1).max(4))
    }

    pub(super) fn bits(&self) -> u64 {
        let symbols = sum(&self.counts, &self.lengths, extra_bits);
        3 + 14 + 3 * self.own_lengths() as u64 + symbols
    }

    fn write(&self, bits: &mut BitWriter<'_>) {
        bits.add((self.literal_symbols - END_OF_BLOCK - 1) as u64, 5);
        bits.add((self.distance_symbols - 1) as u64, 5);
        let own = self.own_lengths();
        bits.add((own - 4) as u64, 4);
        for symbol in &HEADER_ORDER[..own] {
            bits.flush();
            bits.add(self.lengths[*symbol].into(), 3);
        }
        let codes = huffman::codes(&self.lengths);
        for (symbol, extra) in &self.symbols {
            bits.flush();
            let code = codes[*symbol];
            bits.add(code.bits.into(), code.length);
            bits.add(*extra, extra_bits(*symbol));
        }
        bits.flush();
    }
}

const REPEAT: usize = 16;
const FEW_ZEROS: usize = 17;
const MANY_ZEROS: usize = 18;

fn extra_bits(symbol: usize) -> u32 {
    match symbol {
        REPEAT => 2,
        FEW_ZEROS => 3,
        MANY_ZEROS => 7,
        _ => 0,
    }
}

/// Adds `count` times the same length.
fn add_run(symbols: &mut Vec<(usize, u64)>, length: u8, count: usize) {
    let mut left = count;
    if length > 0 {
        symbols.push((length.into(), 0));
        left -= 1;
    }
    while left >= 3 {
        let (symbol, least, most) = match (length, left) {
            (0, 11..) => (MANY_ZEROS, 11, 138),
            (0, _) => (FEW_ZEROS, 3, 10),
            _ => (REPEAT, 3, 6),
        };
        let run = left.min(most);
        symbols.push((symbol, (run - least) as u64));
        left -= run;
    }
    symbols.extend(std::iter::repeat_n((length.into(), 0), left));
}
