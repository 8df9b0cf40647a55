//! The remote cache: records and layers in a registry, in a directory, or in an image itself.
//!
//! What lies there is one [`Document`] that names records by key, and the blobs of the layers
//! that they result in. A probe that the store cannot answer is looked up in the documents;
//! a hit gives a stack whose layers are *absent*: known, but not here. They are brought when
//! something reads their files, and an image that is pushed where they lie needs none.
//!
//! A cache that cannot be read is a warning, never a failure; see [`import`]. Where it lies is
//! a [`Backend`], a small trait with a suite of tests that every implementation passes.

mod absent;
mod document;
mod export;
mod import;
mod layout;
mod registry;
#[cfg(test)]
mod tests;

pub(crate) use absent::{AbsentImage, AbsentLayers};
pub(crate) use export::{ExportContext, Exporter, Offers, Records, inline_document, kept};
pub(crate) use import::{RemoteCache, with_causes};

use document::Document;
use kiln_layer::compress::Compression;
use kiln_oci::{Descriptor, Digest, Reference};
use std::io::{self, Read};
use std::path::PathBuf;
use thiserror::Error;

/// The key in an image's configuration that holds the document of an inline cache.
pub(crate) const INLINE_KEY: &str = "kiln.cache.v1";

/// The tag of a cache in a directory, unless another is asked for.
pub const DEFAULT_TAG: &str = "latest";

/// Where recorded results are looked for besides the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSource {
    /// As the user wrote it, for messages.
    pub specification: String,
    /// Where it lies.
    pub location: CacheLocation,
}

/// Where recorded results are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTarget {
    /// As the user wrote it, for messages.
    pub specification: String,
    /// Where to.
    pub destination: CacheDestination,
    /// Which results.
    pub mode: CacheMode,
    /// How layers are compressed that were built here.
    pub compression: Compression,
    /// What a failure means for the build.
    pub on_error: OnError,
}

/// Where a cache lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheLocation {
    /// Under a name in a registry: a cache of its own, or an image with one inline.
    Registry(Reference),
    /// In an OCI image layout.
    Directory {
        /// The layout.
        path: PathBuf,
        /// The name of the cache in it.
        tag: String,
        /// The digest of its manifest; that of the tag when absent.
        digest: Option<Digest>,
    },
}

/// Where a cache is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheDestination {
    /// At a place of its own.
    Location(CacheLocation),
    /// Into the configuration of the image that is built.
    Inline,
}

/// Which results a cache keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those that the image consists of.
    #[default]
    Min,
    /// All, those of intermediate stages included.
    Max,
}

/// What it means for a build that its cache could not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It failed.
    #[default]
    Fail,
    /// It warns.
    Warn,
}

/// Why a cache could not be used or written.
#[derive(Debug, Error)]
pub enum CacheError {
    /// There is nothing at the place.
    #[error("there is no cache yet")]
    Absent,
    /// What lies there is something else, or damaged.
    #[error("{0}")]
    Malformed(String),
    /// The registry, or the way there, failed.
    #[error(transparent)]
    Registry(Box<kiln_registry::Error>),
    /// A layer could not be read or made.
    #[error(transparent)]
    Transfer(#[from] kiln_transfer::Error),
    /// A file could not be written.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<kiln_registry::Error> for CacheError {
    fn from(error: kiln_registry::Error) -> Self {
        match error.is_not_found() {
            true => CacheError::Absent,
            false => CacheError::Registry(Box::new(error)),
        }
    }
}

/// Opens a blob at its beginning, as often as it is called.
pub(crate) type OpenBlob<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync);

/// A cache as it lies at its place: its document, and the blobs of the document's layers.
#[derive(Debug)]
pub(crate) struct LoadedCache {
    pub document: Document,
    pub layers: Vec<Descriptor>,
}

/// A place where a cache can lie.
pub(crate) trait Backend: Send + Sync {
    /// Returns what lies there: one cache, or those of an image's platforms.
    ///
    /// Errors: [`CacheError::Absent`] if there is nothing.
    fn load(&self) -> Result<Vec<LoadedCache>, CacheError>;

    /// Opens a blob of the cache. Whether it is the right one is for the reader to check.
    fn blob(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send>>;

    /// Brings a blob there, unless it is there. `mount_from` may have it already.
    fn put_blob(
        &self,
        descriptor: &Descriptor,
        open: OpenBlob<'_>,
        mount_from: Option<&Reference>,
    ) -> Result<(), CacheError>;

    /// Makes `document` the cache; all `layers` are there. It appears whole or not at all.
    fn publish(&self, document: &Document, layers: &[Descriptor]) -> Result<(), CacheError>;

    /// Returns the repository, where blobs lie in one that a push may take them from.
    fn repository(&self) -> Option<&Reference> {
        None
    }
}

/// Returns the backend of `location`.
pub(crate) fn backend(
    location: &CacheLocation,
    client: &kiln_registry::Client,
) -> Box<dyn Backend> {
    match location {
        CacheLocation::Registry(reference) => Box::new(registry::RegistryCache::new(
            client.clone(),
            reference.clone(),
        )),
        CacheLocation::Directory { path, tag, digest } => Box::new(layout::LayoutCache::new(
            path.clone(),
            tag.clone(),
            digest.clone(),
        )),
    }
}
