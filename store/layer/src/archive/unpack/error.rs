//! What can go wrong when an archive is applied.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::tree::TreeError;

/// An archive cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive itself is at fault, or reading it failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An entry cannot be made.
    #[error("cannot unpack entry {path:?}")]
    Tree {
        /// The entry.
        path: PathBuf,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// An entry for the root is not a directory.
    #[error("entry {path:?} would replace the root directory")]
    ReplacesRoot {
        /// The entry's path as far as it goes.
        path: PathBuf,
    },
    /// A character device 0:0, which overlay file systems read as a deletion.
    #[error("entry {path:?} is a device that stands for a deletion")]
    HiddenWhiteout {
        /// The entry.
        path: PathBuf,
    },
    /// What becomes of the entry depends on layers that are not here.
    #[error("entry {path:?} depends on what lies below")]
    DependsOnBelow {
        /// The entry.
        path: PathBuf,
    },
    /// Writing a file's content failed.
    #[error("cannot write the content of {path:?}")]
    Content {
        /// The entry.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More entries than allowed.
    #[error("archive has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// More content than allowed.
    #[error("content of the archive exceeds {limit} bytes at entry {path:?}")]
    TooManyBytes {
        /// The entry at which the limit is passed.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A longer path than allowed.
    #[error("path {path:?}… has {found} bytes; at most {limit} are allowed")]
    PathTooLong {
        /// How the path begins.
        path: PathBuf,
        /// Its length in bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A path through more directories than allowed.
    #[error("path {path:?}… leads through more than {limit} directories")]
    PathTooDeep {
        /// How the path begins.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
}
