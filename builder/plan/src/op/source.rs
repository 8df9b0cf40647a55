//! Where files come from.

use kiln_oci::{ChainId, Digest, Platform, Reference};

/// The root file system of an image, pinned to a manifest digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageSource {
    /// The name as the user means it, without the digest: for messages and for pulling.
    pub reference: Reference,
    /// Digest of the image manifest of `platform` (never of an index).
    pub digest: Digest,
    /// Platform of the image.
    pub platform: Platform,
    /// Chain ID of the whole root file system; `None` for an image without layers.
    /// The cache key is made of it, so that a re-tagged or recompressed base still hits.
    pub chain_id: Option<ChainId>,
}

/// Files of a directory on this machine, known to the executor by name.
///
/// What of it is read, and under which ignore patterns, is the executor's to know; the key
/// of a reader is made of the content of what it selects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalSource {
    /// `context` for the build context, else the name of a named context.
    pub name: String,
}

/// One file fetched by HTTP or HTTPS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpSource {
    /// The address. It may hold a password: what people see is [`crate::remote::redacted`].
    pub url: String,
    /// Digest that the content must have.
    pub checksum: Option<Digest>,
    /// Name of the file in the result.
    pub filename: String,
    /// Permission bits of the file in the result, `0o600` unless asked otherwise.
    pub mode: u32,
}

/// A checkout of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GitSource {
    /// Address of the remote, without fragment and query. It may hold a password: what people
    /// see is [`crate::remote::redacted`].
    pub remote: String,
    /// Branch, tag or commit; the remote's HEAD when absent.
    pub reference: Option<String>,
    /// Directory within the repository that becomes the root.
    pub subdirectory: Option<String>,
    /// Commit (or prefix of it) that the reference must resolve to.
    pub checksum: Option<String>,
    /// Whether `.git` stays in the result.
    pub keep_git_directory: bool,
    /// Whether submodules are checked out.
    pub submodules: bool,
    /// Times of the files.
    pub times: GitTimes,
    /// Whether the commit is asked for by its name, and the reference is not looked at.
    pub fetch_by_commit: bool,
}

/// Times that the files of a checkout get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitTimes {
    /// That of the checkout.
    Checkout,
    /// That of the commit.
    Commit,
}
