//! One block of a layer, compressed on its own.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::Compression;

/// Compresses blocks; every thread has one.
pub(super) enum BlockCompressor {
    Gzip(Compressor),
    Zstd(i32),
}

const GZIP_BLOCK_BYTES: usize = 1 << 20;
// Larger than gzip's, as a frame looks back over the whole block.
const ZSTD_BLOCK_BYTES: usize = 4 << 20;

impl BlockCompressor {
    /// Returns the compressor for `compression`; none if blocks stay as they are.
    pub(super) fn new(compression: Compression) -> io::Result<Option<Self>> {
        match compression.settled() {
            Compression::None => Ok(None),
            Compression::Gzip { level } => {
                let level = CompressionLvl::new(level.unwrap_or_default())
                    .map_err(|_| io::Error::other("gzip level out of range"))?;
                Ok(Some(Self::Gzip(Compressor::new(level))))
            }
            Compression::Zstd { level } => Ok(Some(Self::Zstd(level.unwrap_or_default()))),
        }
    }

    /// Returns `block` as one gzip member or zstd frame.
    ///
    /// The member's header has no time and no name. libdeflate keeps no state between calls; for
    /// zstd a new context per block makes sure of the same.
    pub(super) fn compress(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(compressor) => {
                let mut output = vec![0; compressor.gzip_compress_bound(block.len())];
                let length = compressor
                    .gzip_compress(block, &mut output)
                    .map_err(|error| io::Error::other(format!("gzip failed: {error}")))?;
                output.truncate(length);
                Ok(output)
            }
            Self::Zstd(level) => zstd::bulk::compress(block, *level),
        }
    }
}

/// Returns the fixed size of a block; part of the format's determinism.
pub(super) fn block_bytes(compression: Compression) -> usize {
    match compression {
        Compression::Zstd { .. } => ZSTD_BLOCK_BYTES,
        Compression::Gzip { .. } | Compression::None => GZIP_BLOCK_BYTES,
    }
}
