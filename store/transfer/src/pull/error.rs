//! What can go wrong while an image comes in.

use std::io;
use std::sync::Arc;

use kiln_oci::{ConfigError, Digest, DocumentError, Platform};

/// The result of pulling.
pub type Result<T, E = PullError> = std::result::Result<T, E>;

/// An image, or a part of it, could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry, or the way there, failed.
    #[error("cannot pull {image}")]
    Registry {
        /// The image's name.
        image: String,
        /// Why.
        #[source]
        source: Box<kiln_registry::Error>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
    /// A stored manifest or index cannot be understood, or does not fit its configuration.
    #[error("cannot understand manifest {digest} of {image}")]
    Document {
        /// The image's name.
        image: String,
        /// The manifest.
        digest: Digest,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// The image's configuration cannot be understood.
    #[error("cannot understand configuration {digest} of {image}")]
    Config {
        /// The image's name.
        image: String,
        /// The configuration.
        digest: Digest,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// The index has nothing for the platform.
    #[error("{image} has no image for {platform}; it has {}", list(.offered))]
    PlatformMissing {
        /// The image's name.
        image: String,
        /// The platform that was asked for.
        platform: Box<Platform>,
        /// The platforms that the index has.
        offered: Vec<Platform>,
    },
    /// The name leads to something else than an image.
    #[error("{image} is no image: {reason}")]
    NoImage {
        /// The image's name.
        image: String,
        /// Why, in words.
        reason: String,
    },
    /// The registry served a document that differs from its entry in the index.
    #[error("manifest {digest} of {image} has {what} {found}, but its index says {expected}")]
    IndexDisagrees {
        /// The image's name.
        image: String,
        /// The manifest.
        digest: Digest,
        /// What differs.
        what: &'static str,
        /// What the manifest has.
        found: String,
        /// What the index says.
        expected: String,
    },
    /// A layer's archive could not be unpacked.
    #[error("cannot unpack layer {digest} of {image}")]
    Unpack {
        /// The image's name.
        image: String,
        /// The layer's blob.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer's archive is not the one that the configuration names.
    #[error("layer {digest} of {image} has diff id {found}, its configuration says {expected}")]
    WrongDiffId {
        /// The image's name.
        image: String,
        /// The layer's blob.
        digest: Digest,
        /// What the configuration says.
        expected: Digest,
        /// The digest of the uncompressed archive.
        found: Digest,
    },
    /// The layers bring more than allowed.
    #[error("the layers of {image} have more than {limit} {what}")]
    TooLarge {
        /// The image's name.
        image: String,
        /// What there is too much of: `entries`, `bytes`.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// A layer's blob could not be had, as somebody else has been told already.
    #[error(transparent)]
    Shared(Arc<PullError>),
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<_> = platforms.iter().map(Platform::to_string).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

impl PullError {
    /// Returns the error of reading `image` from its registry: it may hold one of ours.
    pub(crate) fn reading(image: &str, error: io::Error, digest: &Digest) -> Self {
        let image = image.to_owned();
        match error.downcast::<kiln_registry::Error>() {
            Ok(source) => Self::Registry {
                image,
                source: Box::new(source),
            },
            Err(error) => Self::Unpack {
                image,
                digest: digest.clone(),
                source: error.into(),
            },
        }
    }

    /// Returns the registry's error, if it was that.
    pub fn registry(&self) -> Option<&kiln_registry::Error> {
        match self {
            Self::Registry { source, .. } => Some(source),
            Self::Shared(inner) => inner.registry(),
            _ => None,
        }
    }
}
