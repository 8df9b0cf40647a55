//! `COPY` and `ADD` between two trees, and the digest of what they would read.
//!
//! Sources are resolved first ([`resolve_sources`]); what they resolve to is copied
//! ([`copy_resolved`]) or digested ([`content_digest`]). `ADD` takes archives out of the
//! resolved list and unpacks them at [`prepare_destination`] itself.
//! Rules: Dockerfile reference, "COPY" and "ADD"; where it is silent, BuildKit's behaviour.

mod comparison;
mod digest;
mod earlier;
mod making;
mod mode;
mod output;
mod recording;
mod source;
mod sources;
#[cfg(test)]
mod tests;
mod transfer;
mod upon;
mod walk;
mod writing;

use std::path::PathBuf;

use crate::pattern::{IgnorePatterns, InvalidPattern};
use crate::tree::{FileKind, TreeError};

pub use digest::{DigestOptions, MOST_LISTED_FILES, SelectedFile, content_digest, content_listing};
pub use earlier::Earlier;
pub use mode::{Clause, InvalidMode, ModeChange};
pub use recording::RecordedArchive;
pub use source::Source;
pub use sources::{ResolvedSource, resolve_sources};
pub use transfer::{
    Copied, LayerCopy, copy_into, copy_into_layer, copy_resolved, prepare_destination,
};
pub use upon::{UponCopy, Worth, copy_upon};

type Result<T, E = CopyError> = std::result::Result<T, E>;

/// Which files of a tree are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Paths or patterns below the root: `.` or `/` for all. A pattern that matches nothing
    /// selects nothing; a path without wildcards must exist.
    pub sources: Vec<String>,
    /// Paths that are left out, relative to the directory copied.
    pub exclude: IgnorePatterns,
    /// Keeps the path of a source, from a `/./` in it on, and lets `**` match directories.
    pub parents: bool,
}

impl Selection {
    /// Everything at `path`: a directory's content, or one file.
    pub fn of(path: impl Into<String>) -> Self {
        Self {
            sources: vec![path.into()],
            ..Self::default()
        }
    }
}

/// What is copied where.
#[derive(Clone, Debug, Default)]
pub struct CopyRequest {
    /// The files.
    pub selection: Selection,
    /// Path in the target; a trailing `/` says that it is a directory.
    pub destination: String,
    /// Owner of all that is made.
    pub owner: Option<(u32, u32)>,
    /// Owner of what is copied when `owner` is absent; kept when both are. Made parent
    /// directories then belong to 0:0.
    pub default_owner: Option<(u32, u32)>,
    /// Change of the permissions; kept when absent.
    pub mode: Option<ModeChange>,
}

/// Why files can't be copied or digested.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source without wildcards is not there.
    #[error("`{path}` does not exist")]
    SourceMissing {
        /// The source as written.
        path: String,
    },
    /// A source is there, but ignore patterns hide it.
    #[error("`{path}` is excluded by the ignore patterns of the build context")]
    SourceIgnored {
        /// The source as written.
        path: String,
    },
    /// A source is a link to nothing.
    #[error("`{}` is a symbolic link to `{}`, which does not exist", path.display(), target.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A source or an exclusion is not a pattern.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// A file would replace a directory.
    #[error("cannot replace the directory `{}` by the {} `{}`", target.display(), kind.noun(), source_path.display())]
    FileOverDirectory {
        /// Path in the target.
        target: PathBuf,
        /// Path of the file in the source.
        source_path: PathBuf,
        /// Its kind.
        kind: FileKind,
    },
    /// A directory would replace a file.
    #[error("cannot copy the directory `{}` over `{}`, which is not a directory", source_path.display(), target.display())]
    DirectoryOverFile {
        /// Path in the target.
        target: PathBuf,
        /// Path of the directory in the source.
        source_path: PathBuf,
    },
    /// Reading the source failed.
    #[error("cannot read the source")]
    Source(#[source] TreeError),
    /// Writing the target failed.
    #[error("cannot write the target")]
    Target(#[source] TreeError),
    /// A file was changed while it was in use.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// Path in the source.
        path: PathBuf,
    },
    /// The content of a file could not be copied.
    #[error("cannot copy the content of `{}`", path.display())]
    Content {
        /// Path in the source.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}
