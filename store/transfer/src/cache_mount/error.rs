//! What can go wrong when a cache mount travels.

use kiln_oci::{Digest, DocumentError};

/// The result of moving a cache mount.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cache mount could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store, or a file outside of it, could not be read or written.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
    /// The registry, or the way there, failed.
    #[error(transparent)]
    Registry(Box<kiln_registry::Error>),
    /// The mount's files cannot be read.
    #[error("cannot read cache mount `{id}`")]
    Read {
        /// The mount.
        id: String,
        /// Why.
        #[source]
        source: Box<kiln_layer::capture::CaptureError>,
    },
    /// The mount's files cannot be written.
    #[error("cannot unpack cache mount `{id}`")]
    Unpack {
        /// The mount.
        id: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing was exported there.
    #[error("there is no cache mount in {place}")]
    Absent {
        /// The registry reference or directory.
        place: String,
    },
    /// What is there is something else.
    #[error("{place} is no exported cache mount")]
    NotOne {
        /// The registry reference or directory.
        place: String,
        /// Why, if it is not just another kind of artifact.
        #[source]
        source: Option<DocumentError>,
    },
    /// A part of an exported mount does not say what it should.
    #[error("the {what} of the exported cache mount makes no sense: {reason}")]
    Malformed {
        /// The part.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A part of an exported mount has other content than its digest says.
    #[error("{what} {expected} of the exported cache mount has digest {found}")]
    WrongDigest {
        /// The part.
        what: &'static str,
        /// What was expected.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
}

impl From<kiln_registry::Error> for Error {
    fn from(error: kiln_registry::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}
