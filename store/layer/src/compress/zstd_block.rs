//! One block of a layer as a zstd frame.
//!
//! The default level is one of our own: zstd's fast way of finding matches with a table twice
//! as large as at its level 2. On text and on programs it is about a third faster than level 3,
//! for as much or a few percent more.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;
use zstd::zstd_safe::{CParameter, Strategy};

use super::FAST_ZSTD_LEVEL;

/// Compresses blocks into frames.
pub(super) enum ZstdCompressor {
    /// One for all blocks.
    Kept(Box<Compressor<'static>>),
    /// One of this level for each block.
    Fresh(i32),
}

/// Higher levels search in a way that may find other matches after other blocks.
const MOST_KEPT_LEVEL: i32 = 4;

impl ZstdCompressor {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        match level > MOST_KEPT_LEVEL {
            true => Ok(Self::Fresh(level)),
            false => compressor(level).map(|one| Self::Kept(Box::new(one))),
        }
    }

    /// Puts `block` into the empty `output` as one frame.
    pub(super) fn compress(&mut self, block: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        output.reserve(compress_bound(block.len()));
        let written = match self {
            Self::Kept(kept) => kept.compress_to_buffer(block, output),
            Self::Fresh(level) => compressor(*level)?.compress_to_buffer(block, output),
        };
        written.map(drop)
    }
}

fn compressor(level: i32) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    if level == FAST_ZSTD_LEVEL {
        for parameter in [
            CParameter::Strategy(Strategy::ZSTD_fast),
            CParameter::WindowLog(22),
            CParameter::HashLog(17),
            CParameter::MinMatch(6),
        ] {
            compressor.set_parameter(parameter)?;
        }
    }
    Ok(compressor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, noise and repetition in turns.
    fn blocks() -> Vec<Vec<u8>> {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        let mut text = |length: usize| -> Vec<u8> {
            let words = (0..length / 4).map(|_| format!("word{} ", u32::from(next()).pow(2) % 997));
            words.flat_map(String::into_bytes).take(length).collect()
        };
        let (first, second) = (text(700_000), text(900_000));
        let noise: Vec<u8> = (0..300_000).map(|_| next()).collect();
        vec![
            first.clone(),
            second,
            noise.clone(),
            vec![7; 500_000],
            noise,
            first,
        ]
    }

    #[test]
    fn frames_do_not_depend_on_what_came_before() {
        for level in 1..=MOST_KEPT_LEVEL {
            let mut kept = ZstdCompressor::new(level).unwrap();
            for block in blocks().iter().chain(&blocks()) {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                kept.compress(block, &mut one).unwrap();
                let mut fresh = ZstdCompressor::Fresh(level);
                fresh.compress(block, &mut other).unwrap();
                assert!(one == other, "level {level}");
                assert!(zstd::bulk::decompress(&one, block.len()).unwrap() == *block);
            }
        }
    }
}
