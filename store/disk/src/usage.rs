//! How much room things take on disk, and what their removal gives back.

use std::collections::HashMap;
use std::io;
use std::iter::Sum;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Store;
use crate::error::{At, Result};

/// Room on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of all blocks: content, directories, extended attributes.
    pub bytes: u64,
    /// Files, directories and everything else that has an inode.
    pub inodes: u64,
}

impl AddAssign for DiskUsage {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

impl Sum for DiskUsage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |mut sum, usage| {
            sum += usage;
            sum
        })
    }
}

/// The room that a store takes on disk, by what it is taken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs.
    pub blobs: DiskUsage,
    /// Committed layers.
    pub layers: DiskUsage,
    /// Layers and files that are being written, blobs that have come in part, what is damaged.
    pub active: DiskUsage,
    /// Cache mounts.
    pub cache_mounts: DiskUsage,
    /// Logs of steps.
    pub logs: DiskUsage,
    /// Records, names, indexes, locks, and the store's own directories.
    pub indexes: DiskUsage,
}

impl Usage {
    /// Returns the sum: what the file system gives back when the store is deleted.
    pub fn total(&self) -> DiskUsage {
        let Self {
            blobs,
            layers,
            active,
            cache_mounts,
            logs,
            indexes,
        } = *self;
        [blobs, layers, active, cache_mounts, logs, indexes]
            .into_iter()
            .sum()
    }
}

impl Store {
    /// Returns the room that the store takes now, other processes' unfinished work included.
    ///
    /// Every inode counts once, whatever number of names it has.
    pub fn usage(&self) -> Result<Usage> {
        let mut counted = Counted::default();
        let mut of = |folder: &str| counted.usage(&self.path(folder));
        let mut active = of("active")?;
        active += of("partial")?;
        active += of(crate::damaged::FOLDER)?;
        let mut usage = Usage {
            layers: of("layers")?,
            blobs: of("blobs")?,
            active,
            cache_mounts: of("cache-mounts")?,
            logs: of("logs")?,
            indexes: DiskUsage::default(),
        };
        usage.indexes = counted.usage(self.root())?;
        Ok(usage)
    }
}

/// Returns the room that the tree below `root` takes on disk, hard links counted once.
///
/// What vanishes while we look counts as nothing.
pub(crate) fn disk_usage(root: &Path) -> Result<DiskUsage> {
    Counted::default().usage(root)
}

/// Returns the room that removing the tree below `root` gives back: files that have names
/// elsewhere stay.
pub(crate) fn freed_by_removal(root: &Path) -> Result<DiskUsage> {
    let mut counted = Counted::default();
    let all = counted.usage(root)?;
    let staying = counted
        .files
        .values()
        .filter(|file| file.names < file.links);
    let staying: DiskUsage = staying.map(|file| file.usage).sum();
    Ok(DiskUsage {
        bytes: all.bytes - staying.bytes,
        inodes: all.inodes - staying.inodes,
    })
}

const BLOCK_BYTES: u64 = 512;

/// Counts trees; what it has counted once it does not count again.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Files with several names, by device and inode.
    files: HashMap<(u64, u64), ManyNamed>,
    /// Directories are recognised too, so that a tree within a counted one is skipped.
    directories: std::collections::HashSet<(u64, u64)>,
}

#[derive(Debug)]
struct ManyNamed {
    links: u64,
    names: u64,
    usage: DiskUsage,
}

impl Counted {
    /// Returns what the tree below `root` takes beyond what was counted before.
    pub(crate) fn usage(&mut self, root: &Path) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        let mut pending = vec![root.to_owned()];
        while let Some(path) = pending.pop() {
            let metadata = present(std::fs::symlink_metadata(&path)).at("examine", &path)?;
            let Some(metadata) = metadata.filter(|metadata| self.is_new(metadata)) else {
                continue;
            };
            usage += usage_of(&metadata);
            if metadata.is_dir() {
                let entries = present(std::fs::read_dir(&path)).at("read directory", &path)?;
                for entry in entries.into_iter().flatten() {
                    pending.push(entry.at("read directory", &path)?.path());
                }
            }
        }
        Ok(usage)
    }

    /// Returns what the directory `path` itself takes; what is in it counts as counted.
    pub(crate) fn alone(&mut self, path: &Path) -> Result<DiskUsage> {
        let metadata = present(std::fs::symlink_metadata(path)).at("examine", path)?;
        let metadata = metadata.filter(|metadata| self.is_new(metadata));
        Ok(metadata.as_ref().map(usage_of).unwrap_or_default())
    }

    fn is_new(&mut self, metadata: &std::fs::Metadata) -> bool {
        let identity = (metadata.dev(), metadata.ino());
        if metadata.is_dir() {
            return self.directories.insert(identity);
        }
        if metadata.nlink() == 1 {
            return true;
        }
        let file = self.files.entry(identity).or_insert(ManyNamed {
            links: metadata.nlink(),
            names: 0,
            usage: usage_of(metadata),
        });
        file.names += 1;
        file.names == 1
    }
}

fn usage_of(metadata: &std::fs::Metadata) -> DiskUsage {
    DiskUsage {
        bytes: metadata.blocks() * BLOCK_BYTES,
        inodes: 1,
    }
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
