//! Why something could not be fetched.

use kiln_oci::Digest;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why something could not be fetched. Addresses are without passwords.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The server could not be asked, or refused.
    #[error("cannot fetch {url}")]
    Web {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: Box<kiln_registry::Error>,
    },
    /// The content is not what was demanded.
    #[error("wrong content of {url}: it has digest {found}, but {expected} is demanded")]
    WrongDigest {
        /// The address.
        url: String,
        /// What was demanded.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The file is larger than anything that may be fetched.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The most bytes allowed.
        limit: u64,
    },
    /// A program that is needed is not there.
    #[error("the program `{program}` is not installed; {remote} cannot be fetched without it")]
    ProgramMissing {
        /// Its name.
        program: &'static str,
        /// What it was needed for.
        remote: String,
    },
    /// The remote has no such branch, tag or commit.
    #[error("{remote} has no branch, tag or commit `{reference}`")]
    UnknownReference {
        /// The remote.
        remote: String,
        /// As asked for.
        reference: String,
        /// One of its references that may be meant.
        suggestion: Option<String>,
    },
    /// The remote has nothing at all.
    #[error("{remote} is an empty repository")]
    EmptyRepository {
        /// The remote.
        remote: String,
    },
    /// The reference is another commit than the one that is demanded.
    #[error("wrong commit of {remote}: `{reference}` is {found}, but {expected} is demanded")]
    WrongCommit {
        /// The remote.
        remote: String,
        /// The reference.
        reference: String,
        /// The commit demanded, or its beginning.
        expected: String,
        /// The commit of the reference.
        found: String,
    },
    /// The repository has no such directory.
    #[error("`{path}` is not a directory in {remote} at {commit}")]
    NotADirectory {
        /// The remote.
        remote: String,
        /// The commit.
        commit: String,
        /// As asked for.
        path: String,
    },
    /// The remote wants (other) credentials.
    #[error("{remote} asks for credentials: {reason}")]
    Unauthorized {
        /// The remote.
        remote: String,
        /// What git says.
        reason: String,
    },
    /// The host of the remote is not the one that it was.
    #[error("{remote} is not trusted: {reason}")]
    HostKey {
        /// The remote.
        remote: String,
        /// What ssh says.
        reason: String,
    },
    /// The remote sends us elsewhere, which credentials must not follow.
    #[error("{remote} redirects elsewhere, and credentials are not taken along")]
    Redirected {
        /// The remote.
        remote: String,
    },
    /// The remote does not answer, or no more.
    #[error("nothing came from {remote} for {seconds} seconds")]
    Silent {
        /// The remote.
        remote: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The git program failed.
    #[error("cannot {action} {remote}: {reason}")]
    Git {
        /// What was tried.
        action: &'static str,
        /// The remote.
        remote: String,
        /// What git says.
        reason: String,
    },
    /// A submodule has an address that is not used.
    #[error("the address `{url}` is refused: {reason}")]
    Address {
        /// The address.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// A submodule could not be fetched.
    #[error("cannot check out submodule `{path}`")]
    Submodule {
        /// Its path in the repository.
        path: String,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
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
    /// The place where fetched things are kept refused something.
    #[error("cannot keep what is fetched")]
    Kept(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl FetchError {
    /// Whether it was cancelled, here or below.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Web { source, .. } => matches!(**source, kiln_registry::Error::Cancelled),
            Self::Submodule { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }

    /// Whether what is fetched was fine, but could not be kept.
    pub fn is_of_the_store(&self) -> bool {
        match self {
            Self::Kept(_) | Self::File { .. } => true,
            Self::Submodule { source, .. } => source.is_of_the_store(),
            _ => false,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
