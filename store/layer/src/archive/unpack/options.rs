//! How an archive is applied, and what came of it.

use std::path::PathBuf;

use crate::tree::Timestamp;

/// How an archive is applied.
#[derive(Clone, Debug)]
pub struct UnpackOptions {
    /// What names that begin with `.wh.` mean.
    pub names: Names,
    /// The directory that the archive's root becomes; made if it is missing.
    pub destination: PathBuf,
    /// User and group of all entries, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// What happens to device nodes.
    pub devices: DevicePolicy,
    /// Whether the tree has what lies below.
    pub below: Below,
    /// Modification time of directories the archive does not list; now if none.
    pub implied_modified: Option<Timestamp>,
    /// Bounds.
    pub limits: UnpackLimits,
}

/// What names in an archive mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// As in a layer: whiteouts delete.
    Layer,
    /// As they stand: the archive is just files.
    Literal,
}

/// What is known of the layers below the one that is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// The tree has them, or there are none.
    Known,
    /// They are not here yet. An archive for which it matters what they hold is refused: one
    /// that does not list all directories it writes to, for they may be links below.
    Unknown,
}

/// What happens to device nodes of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePolicy {
    /// They are made.
    Make,
    /// They are left out and counted: without privileges they cannot be made.
    Skip,
}

/// The most an archive may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Entries.
    pub entries: u64,
    /// Bytes of content, holes included.
    pub content_bytes: u64,
    /// Bytes of a path below the root.
    pub path_bytes: usize,
    /// Directories above an entry, and the entry.
    pub path_depth: usize,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            entries: 16 << 20,
            content_bytes: 256 << 30,
            // What a system call takes: no program could name more.
            path_bytes: 4095,
            path_depth: 1000,
        }
    }
}

impl UnpackOptions {
    /// Returns the options for a layer of an image.
    pub fn layer() -> Self {
        Self {
            names: Names::Layer,
            destination: PathBuf::new(),
            owner: None,
            devices: DevicePolicy::Make,
            below: Below::Known,
            implied_modified: None,
            limits: UnpackLimits::default(),
        }
    }

    /// Returns the options for an archive whose files are added at `destination`.
    pub fn literal(destination: impl Into<PathBuf>) -> Self {
        Self {
            names: Names::Literal,
            destination: destination.into(),
            ..Self::layer()
        }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnpackSummary {
    /// Entries applied, whiteouts included.
    pub entries: u64,
    /// Bytes of content.
    pub content_bytes: u64,
    /// Device nodes left out.
    pub skipped_devices: u64,
}
