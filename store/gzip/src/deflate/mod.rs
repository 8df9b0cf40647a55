//! The fast level of gzip: deflate in one pass, written for layers.
//!
//! An input becomes tokens (bytes, and matches with what came before), block by block; each block
//! has the prefix codes that fit it best, or is stored where that is shorter. Where matches save
//! little, bytes alone are coded. What comes out depends on the input alone: no processor
//! features, no threads, no state of earlier inputs.
//!
//! Specification: RFC 1951; RFC 1952 for the member around it.

mod bits;
mod block;
mod huffman;
mod matches;
mod plain;
mod symbols;
#[cfg(test)]
mod tests;
mod worth;

use bits::BitWriter;
use matches::{Finder, Tokens};
use worth::Worth;

/// Compresses inputs, one after the other.
pub struct Deflate {
    finder: Finder,
    tokens: Tokens,
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

impl Deflate {
    /// Returns one that compresses whole inputs, each on its own.
    pub fn new() -> Self {
        Self {
            finder: Finder::new(),
            tokens: Tokens::new(),
        }
    }

    /// Appends a gzip member of `input`, which tells no time and no name, to `output`.
    pub fn member(&mut self, input: &[u8], output: &mut Vec<u8>) {
        member(input, output, |output| self.compress(input, output));
    }

    /// Appends `input` to `output`, compressed.
    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) {
        let mut bits = BitWriter::new(output);
        self.finder.clear();
        let (mut worth, mut start) = (Worth::default(), 0);
        loop {
            start = match worth.seeks_matches(start) {
                true => self.matched_block(&mut bits, input, start, &mut worth),
                false => plain_block(&mut bits, input, start, &mut worth),
            };
            if start == input.len() {
                break;
            }
        }
        bits.finish();
    }

    /// Writes the block of `input` that begins at `start`; returns where it ends.
    fn matched_block(
        &mut self,
        bits: &mut BitWriter<'_>,
        input: &[u8],
        start: usize,
        worth: &mut Worth,
    ) -> usize {
        let end = self.finder.tokens(input, start, &mut self.tokens);
        let block = &input[start..end];
        let written = block::write(bits, block, &self.tokens, Place::of(end, input));
        worth.note_block(block, end, written);
        end
    }
}

/// As [`Deflate::matched_block`], without matches.
fn plain_block(bits: &mut BitWriter<'_>, input: &[u8], start: usize, worth: &mut Worth) -> usize {
    let end = input.len().min(start + plain::BLOCK_BYTES);
    let block = &input[start..end];
    let written = plain::write(bits, block, Place::of(end, input));
    worth.note_plain_block(block.len(), written);
    end
}

/// Appends a gzip member that holds `input` as it is to `output`.
pub fn stored_member(input: &[u8], output: &mut Vec<u8>) {
    output.reserve(input.len() + input.len() / 4096 + 64);
    member(input, output, |output| store(input, output));
}

/// Appends `input` to `output` as it is, in the same format.
fn store(input: &[u8], output: &mut Vec<u8>) {
    let mut bits = BitWriter::new(output);
    block::store(&mut bits, input, Place::Last);
    bits.finish();
}

/// Whether more blocks follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Last,
}

impl Place {
    /// Returns that of a block which ends at `end`.
    fn of(end: usize, input: &[u8]) -> Self {
        match end == input.len() {
            true => Self::Last,
            false => Self::Before,
        }
    }
}

/// Appends a gzip member of `input` to `output`, whose content `write` appends.
fn member(input: &[u8], output: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    const UNKNOWN_SYSTEM: u8 = 255;
    output.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, UNKNOWN_SYSTEM]);
    write(output);
    let mut checksum = libdeflater::Crc::new();
    checksum.update(input);
    output.extend_from_slice(&checksum.sum().to_le_bytes());
    output.extend_from_slice(&(input.len() as u32).to_le_bytes());
}
