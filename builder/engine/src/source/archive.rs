//! A context that comes as an archive: unpacked for one build.

use super::ContextFiles;
use kiln_disk::{ActiveLayer, Store};
use kiln_layer::archive::{DevicePolicy, UnpackError, UnpackOptions, looks_like_tar, unpack};
use kiln_layer::compress::{ArchiveCompression, decompressor};
use kiln_layer::tree::{Tree, TreeError};
use std::io::{self, Read};
use std::path::PathBuf;
use thiserror::Error;

/// Bytes at the beginning that tell an archive: those of a header of tar.
const HEAD_BYTES: usize = 512;

/// Returns whether what begins with `head` (512 bytes are enough) is an archive: tar, or
/// compressed by gzip, bzip2, xz or zstd.
pub fn is_archive(head: &[u8]) -> bool {
    ArchiveCompression::detect(head) != ArchiveCompression::None
        || (head.len() >= HEAD_BYTES && looks_like_tar(&head[..HEAD_BYTES]))
}

/// An archive could not be unpacked.
#[derive(Debug, Error)]
pub enum ArchiveContextError {
    /// The store refused something.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
    /// A directory could not be written to or read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The compressed stream cannot be read.
    #[error("cannot decompress the archive")]
    Compression(#[source] io::Error),
    /// The archive is malformed, or its entries make no sense.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// The content of an archive, in a directory of the store that goes when this is dropped.
#[derive(Debug)]
pub struct ArchiveContext {
    layer: ActiveLayer,
}

impl ArchiveContext {
    /// Unpacks `input`, compressed or not, whose first bytes are `head`.
    ///
    /// Owners are kept; devices are left out where they cannot be made.
    pub fn unpack(
        store: &Store,
        head: &[u8],
        input: impl Read,
    ) -> Result<Self, ArchiveContextError> {
        let layer = store.layers().begin()?;
        let mut tree = Tree::open_for_write(&[], &layer.upper(), store.whiteout_format())?;
        let input = decompressor(ArchiveCompression::detect(head), head.chain(input));
        let input = input.map_err(ArchiveContextError::Compression)?;
        let options = UnpackOptions {
            devices: DevicePolicy::Skip,
            ..UnpackOptions::literal("")
        };
        unpack(input, &mut tree, &options)?;
        Ok(ArchiveContext { layer })
    }

    /// Returns the directory.
    pub fn directory(&self) -> PathBuf {
        self.layer.upper()
    }

    /// Returns the files.
    pub fn files(&self) -> Result<ContextFiles, TreeError> {
        ContextFiles::of_directory(&self.directory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_by_their_first_bytes() {
        let mut header = [0; HEAD_BYTES];
        header[..1].copy_from_slice(b"a");
        for (head, expected) in [
            (&b"\x1f\x8b\x08"[..], true),
            (b"BZh9", true),
            (b"\xfd7zXZ\0", true),
            (b"\x28\xb5\x2f\xfd", true),
            (b"FROM scratch\n", false),
            (b"", false),
            (&header, false),
        ] {
            assert_eq!(is_archive(head), expected, "{head:?}");
        }
    }
}
