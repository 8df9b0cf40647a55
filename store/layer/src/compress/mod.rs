//! Compression of layers, in parallel and to the same bytes on every machine.
//!
//! The input is cut into blocks of a fixed size; every block becomes a gzip member or a zstd
//! frame of its own, and both formats allow such pieces in a row. So the bytes depend on the
//! input and the level alone, not on threads or on how the input was written.

mod block;
mod buffers;
mod decompress;
mod pipeline;
mod zstd_block;

use std::fmt;
use std::str::FromStr;

use kiln_oci::LayerEncoding;

pub use decompress::{ArchiveCompression, Decompressor, decompressor};
pub(crate) use pipeline::Pipeline;

/// How a layer is to be compressed. A level of `None` is the format's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, level 0 to 12.
    Gzip {
        /// The level.
        level: Option<i32>,
    },
    /// zstd, level 1 to 22.
    Zstd {
        /// The level.
        level: Option<i32>,
    },
}

/// A text names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression {0:?}: expected none, gzip or zstd, with a level behind a colon")]
pub struct CompressionError(String);

/// The level that is Kiln's own; the others are libdeflate's.
const FAST_GZIP_LEVEL: i32 = 1;
const DEFAULT_GZIP_LEVEL: i32 = FAST_GZIP_LEVEL;
/// The level whose parameters are Kiln's own; the others are zstd's.
const FAST_ZSTD_LEVEL: i32 = 2;
const DEFAULT_ZSTD_LEVEL: i32 = FAST_ZSTD_LEVEL;

impl Compression {
    /// gzip at its default level.
    pub const GZIP: Self = Self::Gzip { level: None };
    /// zstd at its default level.
    pub const ZSTD: Self = Self::Zstd { level: None };

    /// Returns how a layer so compressed is encoded.
    pub fn encoding(self) -> LayerEncoding {
        match self {
            Self::None => LayerEncoding::Tar,
            Self::Gzip { .. } => LayerEncoding::TarGzip,
            Self::Zstd { .. } => LayerEncoding::TarZstd,
        }
    }

    /// Returns the same compression with its level named and within the format's range.
    pub fn settled(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Gzip { level } => Self::Gzip {
                level: Some(level.unwrap_or(DEFAULT_GZIP_LEVEL).clamp(0, 12)),
            },
            Self::Zstd { level } => Self::Zstd {
                level: Some(level.unwrap_or(DEFAULT_ZSTD_LEVEL).clamp(1, 22)),
            },
        }
    }
}

/// Writes `none`, `gzip-1`, `zstd-3`: one plain word that can be a file's name.
impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.settled() {
            Self::None => formatter.write_str("none"),
            Self::Gzip { level } => write!(formatter, "gzip-{}", level.unwrap_or_default()),
            Self::Zstd { level } => write!(formatter, "zstd-{}", level.unwrap_or_default()),
        }
    }
}

/// Reads `none`, `uncompressed`, `gzip`, `zstd`, `gzip:6` and what [`Display`](fmt::Display) writes.
impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let refuse = || CompressionError(text.to_owned());
        let (name, level) = match text.split_once([':', '-']) {
            Some((name, level)) => (name, Some(level.parse().map_err(|_| refuse())?)),
            None => (text, None),
        };
        match (name, level) {
            ("none" | "uncompressed", None) => Ok(Self::None),
            ("gzip", level) => Ok(Self::Gzip { level }),
            ("zstd", level) => Ok(Self::Zstd { level }),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_read_back_with_the_level_named() {
        for text in ["none", "gzip-1", "gzip-9", "zstd-3"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!("gzip".parse::<Compression>().unwrap().to_string(), "gzip-1");
        assert!("lz4".parse::<Compression>().is_err());
        assert!("none:3".parse::<Compression>().is_err());
    }
}
