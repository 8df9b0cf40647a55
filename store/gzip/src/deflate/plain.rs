//! Blocks of bytes alone: each has a code, and nothing is said of what came before.
//!
//! That is several times as fast as looking for matches, for which it can be what they are worth.

use super::bits::{BitWriter, WORD_LENGTH_SHIFT};
use super::block::{self, HEADER_BYTES, Header, MOST_LITERAL_BITS};
use super::symbols::{DISTANCE_SYMBOLS, END_OF_BLOCK, LITERAL_SYMBOLS};
use super::{Place, huffman};

/// Bytes of one block: few enough for codes that fit them.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// One byte of so many is counted to estimate; words of powers of two must not share a place.
const ESTIMATED_STEP: usize = 5;

/// Returns about how many bits `input` takes.
pub(super) fn estimated_bits(input: &[u8]) -> u64 {
    let mut counts = [0; LITERAL_SYMBOLS];
    let sample = input.iter().step_by(ESTIMATED_STEP);
    sample.for_each(|byte| counts[usize::from(*byte)] += 1);
    let lengths = huffman::code_lengths(&counts, MOST_LITERAL_BITS);
    block::sum(&counts, &lengths, |_| 0) * ESTIMATED_STEP as u64
}

/// Writes `input` as one block, or as it is where that is shorter; returns how many bits it takes.
pub(super) fn write(bits: &mut BitWriter<'_>, input: &[u8], place: Place) -> u64 {
    let counts = counts(input);
    let lengths = huffman::code_lengths(&counts, MOST_LITERAL_BITS);
    let no_distances = huffman::code_lengths(&[0; DISTANCE_SYMBOLS], huffman::MOST_BITS);
    let header = Header::of(&lengths, &no_distances);
    let length = header.bits() + block::sum(&counts, &lengths, |_| 0);
    let bytes = length.div_ceil(8) as usize;
    if bytes >= input.len() + 4 {
        return block::store(bits, input, place);
    }
    bits.reserve(bytes + HEADER_BYTES);
    block::begin(bits, &header, place);
    let codes = huffman::codes(&lengths);
    let mut words = [0; 256];
    for (word, code) in words.iter_mut().zip(&codes) {
        *word = code.bits | code.length << WORD_LENGTH_SHIFT;
    }
    bits.add_bytes(input, &words);
    block::end(bits, codes[END_OF_BLOCK]);
    length
}

/// Returns how often each symbol occurs.
fn counts(input: &[u8]) -> [u32; LITERAL_SYMBOLS] {
    // Of equal bytes in a row each would wait for the one before in a single table.
    let mut tables = [[0_u32; 256]; 4];
    let (fours, rest) = input.as_chunks::<4>();
    for [one, two, three, four] in fours {
        tables[0][usize::from(*one)] += 1;
        tables[1][usize::from(*two)] += 1;
        tables[2][usize::from(*three)] += 1;
        tables[3][usize::from(*four)] += 1;
    }
    for byte in rest {
        tables[0][usize::from(*byte)] += 1;
    }
    let mut counts = [0; LITERAL_SYMBOLS];
    for table in &tables {
        let all = counts.iter_mut().zip(table);
        all.for_each(|(count, part)| *count += part);
    }
    counts[END_OF_BLOCK] = 1;
    counts
}
