//! What can go wrong while an image is read from files.

use std::io;
use std::path::PathBuf;

use kiln_layer::archive::ArchiveError;
use kiln_oci::{Digest, DocumentError, Platform};

/// An image could not be brought in from files.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no image layout at the path.
    #[error("{} is no OCI image layout: {reason}", path.display())]
    NotALayout {
        /// The directory or archive.
        path: PathBuf,
        /// What is missing or wrong, in words.
        reason: String,
    },
    /// It is no archive of images, or one that nobody should read.
    #[error("{} is no archive of images: {reason}", path.display())]
    NotAnArchive {
        /// The archive.
        path: PathBuf,
        /// What is missing or wrong, in words.
        reason: String,
    },
    /// A file that an archive's manifest names is not there.
    #[error("{} has no file `{name}`, which its manifest names", path.display())]
    FileMissing {
        /// The archive.
        path: PathBuf,
        /// The file.
        name: String,
    },
    /// A layer of an archive is not the one that the image's configuration says.
    #[error("layer `{name}` in {} has digest {found}, expected {expected}", path.display())]
    WrongLayer {
        /// The archive.
        path: PathBuf,
        /// The file.
        name: String,
        /// What it has.
        found: Digest,
        /// What the configuration says.
        expected: Digest,
    },
    /// The configuration of an image cannot be understood.
    #[error("cannot understand image configuration `{name}` in {}", path.display())]
    Config {
        /// The archive.
        path: PathBuf,
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: kiln_oci::ConfigError,
    },
    /// A name that an archive gives an image is none.
    #[error("{} gives an image a name that is none", path.display())]
    Name {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: kiln_oci::ReferenceError,
    },
    /// No entry of the index has the name.
    #[error("{} has no image `{name}`; it has {}", path.display(), list(.offered))]
    NoSuchName {
        /// The layout.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        offered: Vec<String>,
    },
    /// No name was asked for, and the index has several images.
    #[error("{} has {} images; name one of {}", path.display(), .offered.len(), list(.offered))]
    SeveralImages {
        /// The layout.
        path: PathBuf,
        /// The images' names, or digests where they have none.
        offered: Vec<String>,
    },
    /// The index of the image has nothing for the platform.
    #[error("{} has no image for {platform}", path.display())]
    PlatformMissing {
        /// The layout.
        path: PathBuf,
        /// The platform that was asked for.
        platform: Box<Platform>,
    },
    /// A manifest or an index cannot be understood.
    #[error("cannot understand manifest {digest} in {}", path.display())]
    Document {
        /// The layout.
        path: PathBuf,
        /// The manifest.
        digest: Digest,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Indexes lead from one to the next, too far.
    #[error("manifest {digest} in {} lies too deep in indexes of indexes", path.display())]
    TooDeep {
        /// The layout.
        path: PathBuf,
        /// Where it was given up.
        digest: Digest,
    },
    /// A blob that a document names is not there.
    #[error("blob {digest} is not in {}", path.display())]
    BlobMissing {
        /// The layout.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A blob is not what its name says.
    #[error("blob {digest} in {} is damaged", path.display())]
    Damaged {
        /// The layout.
        path: PathBuf,
        /// The blob.
        digest: Digest,
        /// How it differs.
        #[source]
        source: kiln_disk::Error,
    },
    /// A file of the layout is a link, a device or something else that is not read.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// A file could not be read.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive of the layout is malformed.
    #[error("cannot read the archive {}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
