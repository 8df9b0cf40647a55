//! How much room a store takes.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Store;
use crate::error::{At, Result};

/// The room that a store takes on disk, in bytes, by what it is taken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs.
    pub blob_bytes: u64,
    /// Committed layers.
    pub layer_bytes: u64,
    /// Layers and files that are being written.
    pub active_bytes: u64,
    /// Cache mounts.
    pub cache_mount_bytes: u64,
    /// Logs of steps.
    pub log_bytes: u64,
    /// Records, names and indexes.
    pub index_bytes: u64,
}

impl Usage {
    /// Returns the sum.
    pub fn total_bytes(&self) -> u64 {
        self.blob_bytes
            + self.layer_bytes
            + self.active_bytes
            + self.cache_mount_bytes
            + self.log_bytes
            + self.index_bytes
    }
}

impl Store {
    /// Returns the room that the store takes now, other processes' unfinished work included.
    pub fn usage(&self) -> Result<Usage> {
        let of = |folder: &str| disk_usage(&self.path(folder));
        let mut index_bytes = 0;
        for folder in [
            "records",
            "chains",
            "images",
            "compressed",
            "index",
            "locks",
        ] {
            index_bytes += of(folder)?;
        }
        Ok(Usage {
            blob_bytes: of("blobs")?,
            layer_bytes: of("layers")?,
            active_bytes: of("active")?,
            cache_mount_bytes: of("cache-mounts")?,
            log_bytes: of("logs")?,
            index_bytes,
        })
    }
}

/// Returns the bytes that the tree below `root` takes on disk, hard links counted once.
///
/// What vanishes while we look counts as nothing.
pub(crate) fn disk_usage(root: &Path) -> Result<u64> {
    const BLOCK_BYTES: u64 = 512;
    let mut seen = HashSet::new();
    let mut bytes = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let Some(metadata) = present(std::fs::symlink_metadata(&path)).at("examine", &path)? else {
            continue;
        };
        if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
            bytes += metadata.blocks() * BLOCK_BYTES;
        }
        if !metadata.is_dir() {
            continue;
        }
        for entry in present(std::fs::read_dir(&path))
            .at("read directory", &path)?
            .into_iter()
            .flatten()
        {
            pending.push(entry.at("read directory", &path)?.path());
        }
    }
    Ok(bytes)
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
