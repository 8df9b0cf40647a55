//! What can go wrong in a tree.

use std::io;
use std::path::{Path, PathBuf};

use super::FileKind;

/// Why something in a tree could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: a verb phrase.
        action: &'static str,
        /// Path in the tree.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// There is no such file.
    #[error("`{}` does not exist", .0.display())]
    NotFound(PathBuf),
    /// A path leads through more symbolic links than the kernel would follow.
    #[error("`{}` leads through more than 40 symbolic links", .0.display())]
    TooManyLinks(PathBuf),
    /// A directory is needed here.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A directory is in the way.
    #[error("`{}` is a directory", .0.display())]
    IsADirectory(PathBuf),
    /// Only regular files are read.
    #[error("`{}` is a {}, not a regular file", path.display(), kind.noun())]
    NotRegular {
        /// Path in the tree.
        path: PathBuf,
        /// What it is instead.
        kind: FileKind,
    },
    /// A file is larger than its reader accepts.
    #[error("`{}` is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// Path in the tree.
        path: PathBuf,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// The tree has no upper directory.
    #[error("cannot write `{}`: the tree is read only", .0.display())]
    ReadOnly(PathBuf),
    /// A device that can't be made: 0:0 would be a deletion, larger numbers would be cut off.
    #[error("cannot make `{}`: device {}:{} is not a valid device", path.display(), device.0, device.1)]
    InvalidDevice {
        /// Path in the tree.
        path: PathBuf,
        /// Major and minor number.
        device: (u32, u32),
    },
    /// The root itself can be neither replaced nor removed.
    #[error("cannot replace the root directory")]
    Root,
}

impl TreeError {
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source: source.into(),
        }
    }
}
