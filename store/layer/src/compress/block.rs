//! One block of a layer, compressed on its own.
//!
//! deflate is slowest where it gains nothing. A block that looks like noise in every part of it
//! is tried in one place, and if nothing is gained there, it is stored as it is. That depends on
//! the block alone, as all of its bytes do.

use std::io;

use kiln_gzip::{Deflate, stored_member};
use libdeflater::{CompressionLvl, Compressor};

use super::zstd_block::ZstdCompressor;
use super::{Compression, FAST_GZIP_LEVEL};

/// Compresses blocks; every thread has one.
pub(super) enum BlockCompressor {
    Gzip(GzipCompressor),
    Zstd(ZstdCompressor),
}

/// Makes gzip members.
pub(super) enum GzipCompressor {
    Fast(Box<Deflate>),
    /// For those who have more time.
    Level(Box<Compressor>),
}

/// A part of a block, of which the beginning is looked at.
const PART_BYTES: usize = 64 << 10;
const SAMPLE_BYTES: usize = 4 << 10;
/// What is compressed to see whether that gains anything.
const TRIAL_BYTES: usize = 48 << 10;

const GZIP_BLOCK_BYTES: usize = 1 << 20;
// Larger than gzip's, as a frame looks back over the whole block.
const ZSTD_BLOCK_BYTES: usize = 4 << 20;

impl BlockCompressor {
    /// Returns the compressor for `compression`; none if blocks stay as they are.
    pub(super) fn new(compression: Compression) -> io::Result<Option<Self>> {
        match compression.settled() {
            Compression::None => Ok(None),
            Compression::Gzip { level } => {
                GzipCompressor::new(level.unwrap_or_default()).map(|gzip| Some(Self::Gzip(gzip)))
            }
            Compression::Zstd { level } => {
                ZstdCompressor::new(level.unwrap_or_default()).map(|zstd| Some(Self::Zstd(zstd)))
            }
        }
    }

    /// Puts `block` into the empty `output` as one gzip member or zstd frame.
    ///
    /// What earlier blocks were makes no difference.
    pub(super) fn compress(&mut self, block: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Gzip(gzip) => gzip.compress(block, output),
            Self::Zstd(zstd) => zstd.compress(block, output),
        }
    }
}

impl GzipCompressor {
    fn new(level: i32) -> io::Result<Self> {
        if level == FAST_GZIP_LEVEL {
            return Ok(Self::Fast(Box::new(Deflate::new())));
        }
        let level = CompressionLvl::new(level);
        let level = level.map_err(|_| io::Error::other("gzip level out of range"))?;
        Ok(Self::Level(Box::new(Compressor::new(level))))
    }

    fn compress(&mut self, block: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        if looks_like_noise(block) && self.gains_nothing(block, output)? {
            stored_member(block, output);
            return Ok(());
        }
        self.member(block, output)
    }

    /// Whether the middle of the block is not made smaller; `output` is empty before and after.
    fn gains_nothing(&mut self, block: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        let start = (block.len() / 2).saturating_sub(TRIAL_BYTES / 2);
        let trial = &block[start..block.len().min(start + TRIAL_BYTES)];
        self.member(trial, output)?;
        let gains_nothing = output.len() > trial.len() - trial.len() / 64;
        output.clear();
        Ok(gains_nothing)
    }

    fn member(&mut self, block: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Fast(fast) => fast.member(block, output),
            Self::Level(compressor) => {
                output.resize(compressor.gzip_compress_bound(block.len()), 0);
                let length = compressor
                    .gzip_compress(block, output)
                    .map_err(|error| io::Error::other(format!("gzip failed: {error}")))?;
                output.truncate(length);
            }
        }
        Ok(())
    }
}

/// Whether all byte values are about as frequent as each other wherever it is looked.
fn looks_like_noise(block: &[u8]) -> bool {
    let mut parts = block.chunks(PART_BYTES);
    block.len() >= TRIAL_BYTES && parts.all(|part| is_even(&part[..part.len().min(SAMPLE_BYTES)]))
}

/// Whether the counts of byte values deviate from even ones no more than chance lets them: the
/// sum of their squares, which is n²/256 + n for noise, is at most a quarter more.
fn is_even(sample: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    sample
        .iter()
        .for_each(|byte| counts[usize::from(*byte)] += 1);
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    let length = sample.len() as u64;
    squares * 4 <= (length * length / 256 + length) * 5
}

/// Returns the fixed size of a block; part of the format's determinism.
pub(super) fn block_bytes(compression: Compression) -> usize {
    match compression {
        Compression::Zstd { .. } => ZSTD_BLOCK_BYTES,
        Compression::Gzip { .. } | Compression::None => GZIP_BLOCK_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn gzip(block: &[u8]) -> usize {
        let compression = Compression::GZIP;
        let mut compressor = BlockCompressor::new(compression).unwrap().unwrap();
        let mut output = Vec::new();
        compressor.compress(block, &mut output).unwrap();
        output.len()
    }

    #[test]
    fn noise_is_stored_and_what_repeats_is_not() {
        let noise = noise(GZIP_BLOCK_BYTES);
        assert!(looks_like_noise(&noise));
        let stored = gzip(&noise);
        assert!(stored > noise.len() && stored < noise.len() + 1000);
        let repeated = noise[..20_000].repeat(60)[..GZIP_BLOCK_BYTES].to_vec();
        assert!(looks_like_noise(&repeated));
        assert!(gzip(&repeated) < 100_000);
    }

    #[test]
    fn block_that_is_noise_in_part_is_compressed() {
        let mut block = noise(GZIP_BLOCK_BYTES);
        block[600_000..800_000].fill(b'x');
        assert!(!looks_like_noise(&block));
        assert!(gzip(&block) < 900_000);
        assert!(!looks_like_noise(&noise(1000)));
        assert!(!looks_like_noise(&b"some text ".repeat(100_000)));
    }
}
