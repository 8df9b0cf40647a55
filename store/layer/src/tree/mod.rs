//! The union of a stack of directories, seen without mounting it, and written to.
//!
//! A stack is a list of directories in overlayfs' own format, bottom first: a character
//! device 0:0 (a *whiteout*) hides what lies below it, an *opaque* directory hides the
//! content of the directories below it. An *upper* directory, if any, lies on top and takes
//! all changes; a directory that is written to is first copied up with its attributes.
//!
//! Paths are resolved inside the union's root: `..` stops there, absolute links start
//! there. Every step is taken from an open directory and follows no link by itself, so
//! that nothing outside is reached, whatever a layer or a context contains and whoever
//! changes it meanwhile. Specification: kernel documentation, filesystems/overlayfs.rst.

mod attributes;
mod directory;
mod error;
pub(crate) mod handles;
mod metadata;
mod new_file;
pub(crate) mod note;
mod read;
mod resolve;
pub(crate) mod scanning;
#[cfg(test)]
mod tests;
mod upper;
mod write;
mod xattr;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fd::AsFd;

use crate::pattern::IgnorePatterns;
use directory::{Directory, Flavor};

pub use directory::WhiteoutFormat;
pub use error::TreeError;
pub use metadata::{Attributes, FileKind, Metadata, Timestamp, Xattr};
pub use new_file::NewFile;
pub use read::{Entry, Node};
pub use resolve::Follow;
pub(crate) use scanning::{metadata_of, opened_metadata, xattrs_of};
pub use xattr::belongs_to_file;

type Result<T, E = TreeError> = std::result::Result<T, E>;

/// Open handles that a tree keeps besides its roots; processes may have 1,024 by default.
const CACHED_HANDLES: usize = 256;

/// The union of a stack of directories.
///
/// Reading takes `&self` and may happen on many threads at once. Paths may be relative or
/// absolute; both start at the root.
#[derive(Debug)]
pub struct Tree {
    flavor: Flavor,
    root: Arc<Directory>,
    cache: Mutex<Cache>,
    ignore: Option<IgnorePatterns>,
    /// Whether permissions are what a checkout with the usual umask has.
    normalizes_modes: bool,
    /// A directory that is not shown: device and inode.
    hidden: Option<(u64, u64)>,
    /// What directories that were written to get as modification time in the end.
    directory_times: HashMap<PathBuf, Timestamp>,
}

/// Directories by their resolved path. No symbolic link leads to a key.
#[derive(Debug, Default)]
struct Cache {
    directories: HashMap<PathBuf, Arc<Directory>>,
    handles: usize,
}

impl Tree {
    /// Opens a stack of layer directories, bottom first, for reading.
    pub fn open(lowers: &[PathBuf], format: WhiteoutFormat) -> Result<Self> {
        Self::open_parts(lowers, None, Flavor::Layers(format))
    }

    /// Opens a stack of layer directories, bottom first, whose changes go to `upper`.
    ///
    /// An upper directory that is still empty takes the attributes of the uppermost root
    /// below it. Call [`Tree::finish`] when all is written.
    pub fn open_for_write(
        lowers: &[PathBuf],
        upper: &Path,
        format: WhiteoutFormat,
    ) -> Result<Self> {
        let tree = Self::open_parts(lowers, Some(upper), Flavor::Layers(format))?;
        tree.prepare_root()?;
        Ok(tree)
    }

    /// Opens a directory of this machine, such as a build context, for reading.
    pub fn host(directory: &Path) -> Result<Self> {
        Self::open_parts(&[directory.to_path_buf()], None, Flavor::Host)
    }

    /// Opens a plain directory to be changed: what is deleted is gone, nothing stands for it.
    pub fn host_for_write(directory: &Path) -> Result<Self> {
        Self::open_parts(&[], Some(directory), Flavor::Host)
    }

    /// As [`Tree::host`], for a copy of layers of the form `format`: what is noted beside files
    /// counts where layers have notes.
    pub fn copy(directory: &Path, format: WhiteoutFormat) -> Result<Self> {
        Self::open_parts(&[directory.to_path_buf()], None, copy_flavor(format))
    }

    /// As [`Tree::host_for_write`], for a copy of layers of the form `format`.
    pub fn copy_for_write(directory: &Path, format: WhiteoutFormat) -> Result<Self> {
        Self::open_parts(&[], Some(directory), copy_flavor(format))
    }

    /// Hides what `patterns` exclude, as if it were not there.
    pub fn with_ignore(mut self, patterns: IgnorePatterns) -> Self {
        self.lock().clear();
        self.ignore = Some(patterns);
        self
    }

    /// Shows the permissions that a checkout with the usual umask has: `0755` for directories
    /// and for files that anybody may execute, `0644` for other files.
    pub fn with_normalized_modes(mut self) -> Self {
        self.normalizes_modes = true;
        self
    }

    /// Returns metadata as it is shown.
    fn shown(&self, metadata: Metadata) -> Metadata {
        let is_executable = metadata.is_directory() || metadata.mode & 0o111 != 0;
        let mode = match (self.normalizes_modes, is_executable) {
            (false, _) => metadata.mode,
            (true, true) => 0o755,
            (true, false) => 0o644,
        };
        Metadata { mode, ..metadata }
    }

    /// Hides the directory at `directory` on this machine, wherever in the tree it lies: a
    /// store within a build context is neither read nor copied into itself.
    pub fn without_directory(mut self, directory: &Path) -> Result<Self> {
        let handle = directory::open_root(directory)
            .map_err(TreeError::io("open the directory", directory))?;
        let metadata =
            directory::stat_handle(handle.as_fd()).map_err(TreeError::io("look up", directory))?;
        self.lock().clear();
        self.hidden = Some((metadata.device, metadata.inode));
        Ok(self)
    }

    fn is_hidden(&self, metadata: &Metadata) -> bool {
        metadata.is_directory() && self.hidden == Some((metadata.device, metadata.inode))
    }

    /// The patterns whose matches are hidden.
    pub fn ignore(&self) -> Option<&IgnorePatterns> {
        self.ignore.as_ref()
    }

    fn open_parts(lowers: &[PathBuf], upper: Option<&Path>, flavor: Flavor) -> Result<Self> {
        let top_first = upper
            .into_iter()
            .chain(lowers.iter().rev().map(PathBuf::as_path));
        let mut parts = Vec::with_capacity(lowers.len() + 1);
        for path in top_first {
            let part =
                directory::open_root(path).map_err(TreeError::io("open the directory", path))?;
            let opaque = matches!(flavor, Flavor::Layers(format)
                if xattr::is_opaque(format, part.as_fd()));
            parts.push(part);
            if opaque {
                break;
            }
        }
        let root = Directory {
            parts,
            has_upper: upper.is_some(),
            parent_match: Default::default(),
        };
        Ok(Self {
            flavor,
            root: Arc::new(root),
            cache: Mutex::default(),
            ignore: None,
            normalizes_modes: false,
            hidden: None,
            directory_times: HashMap::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // A cache stays valid when a thread that used it panicked.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy_flavor(format: WhiteoutFormat) -> Flavor {
    match format.has_notes() {
        true => Flavor::NotedHost,
        false => Flavor::Host,
    }
}

impl Cache {
    fn get(&self, path: &Path) -> Option<Arc<Directory>> {
        self.directories.get(path).cloned()
    }

    fn insert(&mut self, path: &Path, directory: Arc<Directory>) {
        if self.handles + directory.parts.len() > CACHED_HANDLES {
            self.clear();
        }
        self.handles += directory.parts.len();
        if let Some(replaced) = self.directories.insert(path.to_path_buf(), directory) {
            self.handles -= replaced.parts.len();
        }
    }

    fn clear(&mut self) {
        self.directories.clear();
        self.handles = 0;
    }
}
