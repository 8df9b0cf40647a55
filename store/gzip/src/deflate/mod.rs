//! The fast level of gzip: deflate in one pass, written for layers.
//!
//! An input becomes tokens (bytes, and matches with what came before), block by block; each block
//! has the prefix codes that fit it best, or is stored where that is shorter. What comes out
//! depends on the input alone: no processor features, no threads, no state of earlier inputs.
//!
//! Specification: RFC 1951; RFC 1952 for the member around it.

mod bits;
mod block;
mod huffman;
mod matches;
mod symbols;
#[cfg(test)]
mod tests;

use bits::BitWriter;
use matches::{Finder, Tokens};

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

    /// Returns a gzip member of `input`, which tells no time and no name.
    pub fn member(&mut self, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(input.len() / 2);
        member(input, &mut output, |output| self.compress(input, output));
        output
    }

    /// Appends `input` to `output`, compressed.
    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) {
        let mut bits = BitWriter::new(output);
        self.finder.clear();
        let mut start = 0;
        loop {
            let end = self.finder.tokens(input, start, &mut self.tokens);
            let place = match end == input.len() {
                true => Place::Last,
                false => Place::Before,
            };
            block::write(&mut bits, &input[start..end], &self.tokens, place);
            if place == Place::Last {
                break;
            }
            start = end;
        }
        bits.finish();
    }
}

/// Returns a gzip member that holds `input` as it is.
pub fn stored_member(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(input.len() + input.len() / 4096 + 64);
    member(input, &mut output, |output| store(input, output));
    output
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
