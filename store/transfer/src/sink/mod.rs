//! Where images go: OCI layouts, Docker archives, directories and plain archives.
//!
//! A file appears whole or not at all: it is written under no name, or a temporary one beside
//! the target, and renamed at the end.

mod destination;
pub mod docker_archive;
mod image_archive;
pub mod local;
pub mod oci_layout;
mod parts;
pub mod rootfs_tar;
pub mod save;
mod walk;

pub use destination::Destination;

use kiln_oci::Reference;

use crate::pack::Packing;

/// What images are called in an archive or a layout, and how they are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// The names of the image, the first one first.
    pub names: Vec<Reference>,
    /// How it is packed.
    pub packing: Packing,
    /// When it was made, as RFC 3339 text, for the entry in the index; none is reproducible.
    pub created: Option<String>,
}
