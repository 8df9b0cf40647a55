//! Cache mounts on their way to other machines: only what changed travels.
//!
//! The canonical archive of a mount's directory is cut into chunks where its content says so;
//! each chunk is known by its digest, compressed by itself, and sent in packs of some
//! megabytes. What a place has, or what the mount has, is not sent again.

mod chunker;
mod error;
mod export;
mod import;
mod index;
mod place;

use kiln_oci::Descriptor;

pub use error::{Error, Result};
pub use export::export;
pub use import::{Exported, find, unpack_over};
pub use index::{Config, RootDirectory};
pub use kiln_layer::compress::{ArchiveCompression, decompressor};
pub use place::{InDirectory, InRegistry, Place};

use kiln_disk::CacheMountUse;
use std::io::Write;

/// What happens while a mount travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The mount was read.
    Read {
        /// Its number of chunks.
        chunks: usize,
    },
    /// A pack is on its way.
    Sending {
        /// The pack.
        pack: Descriptor,
    },
    /// A pack is coming.
    Fetching {
        /// The pack.
        pack: Descriptor,
    },
}

/// Who is told of the progress.
pub type Observer<'a> = &'a dyn Fn(Progress);

/// What was moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The size of the mount's archive.
    pub archive_bytes: u64,
    /// Packs that were there already, or not needed.
    pub kept_packs: usize,
    /// Packs that were sent or fetched.
    pub moved_packs: usize,
    /// Bytes that were sent or fetched, manifests apart.
    pub moved_bytes: u64,
    /// What the place has now, after an export.
    pub manifest: Option<Descriptor>,
}

/// Writes the files of a mount as one archive.
pub fn write_archive(used: &CacheMountUse, sink: impl Write) -> Result<()> {
    export::archive(used, sink)
}
