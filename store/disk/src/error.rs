//! What can go wrong in the store: always what failed, on which object, why.

use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;

use crate::LayerId;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A store operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a path; nothing partial is left behind.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done, as a verb: `write`, `rename`.
        action: &'static str,
        /// The object.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory holds something, but no store.
    #[error("cannot use {} as a store: it is not empty and has no kiln-store.json", path.display())]
    NotAStore {
        /// The root that was asked for.
        path: PathBuf,
    },
    /// A newer program made the store; it was left as it is.
    #[error("cannot use store {}: it has version {found}, newer than the version {known} known here", path.display())]
    NewerVersion {
        /// The root of the store.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version known.
        known: u64,
    },
    /// The store uses a feature that this program lacks; it was left as it is.
    #[error("cannot use store {}: it needs the unknown feature `{feature}`", path.display())]
    UnknownFeature {
        /// The root of the store.
        path: PathBuf,
        /// The first feature that is unknown.
        feature: String,
    },
    /// The layers of the store have another form than those that this process makes.
    #[error("cannot use store {}: it was made {made}, and this process runs {here}", path.display())]
    OtherLayers {
        /// The root of the store.
        path: PathBuf,
        /// Where it was made.
        made: &'static str,
        /// Where this process is.
        here: &'static str,
    },
    /// The root belongs to another user.
    #[error("cannot use store {}: it belongs to {owner}, not to {user}", path.display())]
    OwnedByAnother {
        /// The root of the store.
        path: PathBuf,
        /// The user that owns it: `user 1000 (ann)`.
        owner: String,
        /// The user that this process is.
        user: String,
    },
    /// A file of the store does not say what it should.
    #[error("cannot understand {}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file of the store has changed since it was written.
    #[error("{} is damaged: its content has another digest than it says", .0.display())]
    Damaged(PathBuf),
    /// The file of an image's name has changed since it was written: what it led to is not known.
    #[error("the name {} of an image is damaged", quoted_or_path(name.as_deref(), path))]
    DamagedName {
        /// The file.
        path: PathBuf,
        /// The name, if that can still be read.
        name: Option<String>,
    },
    /// A blob is not in the store.
    #[error("blob {0} is not in the store")]
    BlobMissing(Digest),
    /// A blob of the store has changed since it came in; it was set aside, so that whoever
    /// needs it next gets it anew.
    #[error("blob {expected} in the store was damaged (it has digest {found}) and is set aside")]
    BlobDamaged {
        /// Its name.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// What was written is not what was announced; it was discarded.
    #[error("blob has digest {found}, expected {expected}")]
    WrongDigest {
        /// The digest that was announced.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// What was written is longer or shorter than announced; it was discarded.
    #[error("blob {expected_digest} has {found} bytes, expected {expected}")]
    WrongSize {
        /// The digest that was announced.
        expected_digest: Digest,
        /// The size that was announced.
        expected: u64,
        /// The size of the bytes.
        found: u64,
    },
    /// A layer is not in the store.
    #[error("layer {0} is not in the store")]
    LayerMissing(LayerId),
    /// Waiting for a lock was given up by the waiter.
    #[error("gave up waiting for the lock of `{name}`")]
    GaveUpWaiting {
        /// What the lock is for.
        name: String,
    },
}

fn quoted_or_path(name: Option<&str>, path: &Path) -> String {
    match name {
        Some(name) => format!("`{name}` ({})", path.display()),
        None => path.display().to_string(),
    }
}

impl Error {
    /// Whether the cause is a file system that cannot be written.
    pub fn is_read_only(&self) -> bool {
        let Error::Io { source, .. } = self else {
            return false;
        };
        source.kind() == io::ErrorKind::ReadOnlyFilesystem
    }

    /// Whether the cause is a full disk or an exhausted quota.
    pub fn is_out_of_space(&self) -> bool {
        let Error::Io { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Adds what was done, and on which path, to an operating system error.
pub trait At<T> {
    /// Turns the error into [`Error::Io`].
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::Io {
            action,
            path: path.to_owned(),
            source: error.into(),
        })
    }
}
