//! Layer archives: reading entries from a tar stream and writing them back.
//!
//! A layer is a sequence of entries; deletions are entries too (*whiteouts*). Reading never
//! trusts a path, a size or a header; writing is canonical: equal trees, equal bytes.
//! Specification: OCI image-spec, layer.md, "Representing Changes"; POSIX `pax`.

mod entry;
mod header;
mod pax;
mod reader;
mod sparse;
mod unpack;
mod writer;

use std::io;
use std::path::PathBuf;

pub use entry::{
    Device, Entry, EntryKind, Meaning, OPAQUE_MARKER, WHITEOUT_DEVICE, WHITEOUT_PREFIX, Xattrs,
    is_portable_xattr,
};
pub use header::looks_like_tar;
pub use reader::{Content, LayerReader};
pub use unpack::{
    Below, DevicePolicy, Names, UnpackError, UnpackLimits, UnpackOptions, UnpackSummary, unpack,
};
pub use writer::LayerWriter;
pub(crate) use writer::{ARCHIVE_END, padding};

/// An archive cannot be read, written or applied.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Reading or writing the stream failed.
    #[error("archive stream failed")]
    Stream(#[source] io::Error),
    /// The stream ends inside an entry.
    #[error("unexpected end of layer in entry {path:?}")]
    Truncated {
        /// The entry; empty if the stream ends in a header.
        path: PathBuf,
    },
    /// A header is not a tar header.
    #[error("malformed tar header: {reason}")]
    MalformedHeader {
        /// What is wrong.
        reason: &'static str,
    },
    /// An extended header is malformed.
    #[error("malformed pax header: {reason}")]
    MalformedPax {
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry is of a type that layers do not have.
    #[error("unsupported type {kind:?} of entry {path:?}")]
    UnsupportedType {
        /// The entry.
        path: PathBuf,
        /// The type's letter.
        kind: char,
    },
    /// An entry lies outside the root.
    #[error("entry {path:?} leaves the root")]
    LeavesRoot {
        /// The path as written.
        path: PathBuf,
    },
    /// An entry's name cannot be that of a file.
    #[error("entry name {path:?} is not a path")]
    BadPath {
        /// The path, shortened.
        path: PathBuf,
    },
    /// A whiteout hides its own directory or nothing at all.
    #[error("whiteout {path:?} does not name a file in its directory")]
    BadWhiteout {
        /// The whiteout's path.
        path: PathBuf,
    },
    /// A directory of the path has a name that only whiteouts have.
    #[error("entry {path:?} lies in a directory that is called like a whiteout")]
    InWhiteout {
        /// The entry's path, or where links lead it.
        path: PathBuf,
    },
    /// The content is shorter or longer than the entry says.
    #[error("content of {path:?} is not {expected} bytes long")]
    ContentSize {
        /// The entry.
        path: PathBuf,
        /// What the entry says.
        expected: u64,
    },
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<ArchiveError>() {
            Ok(inner) => inner,
            Err(error) => Self::Stream(error),
        }
    }
}

impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Stream(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}
