//! What can go wrong while an image is moved.

use kiln_oci::{ConfigError, DiffId, Digest, DocumentError, Platform};

/// The result of moving an image.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An image, or a part of it, could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store, or a file outside of it, could not be read or written.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
    /// The file tree of a stack of layers could not be read, or its copy not written.
    #[error(transparent)]
    Tree(#[from] kiln_layer::tree::TreeError),
    /// A layer's directory could not be made an archive.
    #[error("cannot archive layer {layer}")]
    Capture {
        /// The layer.
        layer: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A manifest or an index cannot be understood.
    #[error("cannot understand manifest {digest}")]
    Document {
        /// The manifest.
        digest: Digest,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// An image configuration cannot be understood.
    #[error("cannot understand image configuration {digest}")]
    Config {
        /// The configuration.
        digest: Digest,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// An index leads to another index.
    #[error("{0} is an index where the manifest of an image is expected")]
    NestedIndex(Digest),
    /// An index has nothing for the platform.
    #[error("index {index} has no image for {platform}")]
    PlatformMissing {
        /// The index.
        index: Digest,
        /// The platform that was asked for.
        platform: Box<Platform>,
    },
    /// A layer was unpacked without keeping its blob: its archive cannot be made again.
    #[error("the archive of layer {} is not in the store", .0.0)]
    ArchiveMissing(DiffId),
    /// A blob could not be brought here, or is not the layer that it should be.
    #[error("cannot fetch layer {digest}")]
    Arrival {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An archive of files could not be unpacked.
    #[error("cannot unpack the archive")]
    Files {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer's directory no longer gives the archive that the image names.
    #[error("layer {layer} has changed: its archive has digest {found}, expected {}", expected.0)]
    LayerChanged {
        /// The layer.
        layer: String,
        /// The digest that the image names.
        expected: DiffId,
        /// The digest of what is there.
        found: Digest,
    },
    /// The registry, or the way there, failed.
    #[error("cannot push {image}")]
    Push {
        /// The name under which the image was to be pushed.
        image: String,
        /// Why.
        #[source]
        source: Box<kiln_registry::Error>,
    },
    /// The target takes one image.
    #[error("a {target} holds one image, not {count}")]
    OneImageOnly {
        /// What was to be written.
        target: &'static str,
        /// How many images were given.
        count: usize,
    },
}
