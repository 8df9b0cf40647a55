//! What a walk on several threads needs of a tree: handles, and what one looks at by them.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use super::{Metadata, Result, Tree, TreeError, Xattr, directory, note, xattr};
use crate::pattern::ParentMatch;

/// Opens the directory `name` itself, never what a link there points to.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    directory::open_child(parent, name)
}

/// Opens the directory at `path`, which is free of links, of a tree of one directory.
pub(crate) fn open(tree: &Tree, path: &Path) -> Result<(OwnedFd, ParentMatch)> {
    let missing = || TreeError::NotADirectory(path.to_path_buf());
    let opened = tree.directory_at(path)?.ok_or_else(missing)?;
    let part = opened.parts.first().ok_or_else(missing)?;
    // A handle of its own: reading moves its position.
    let handle = directory::open_child(part.as_fd(), OsStr::new("."))
        .map_err(TreeError::io("open the directory", path))?;
    Ok((handle, opened.parent_match.clone()))
}

/// Returns the metadata of `name` in the open directory at `path`; none if it has gone or is
/// hidden.
pub(crate) fn look(
    tree: &Tree,
    parent: BorrowedFd<'_>,
    path: &Path,
    name: &OsStr,
) -> Result<Option<Metadata>> {
    match directory::stat(parent, name) {
        Ok(metadata) if tree.is_hidden(&metadata) => Ok(None),
        Ok(metadata) => {
            let metadata = note::noted(tree.flavor, parent, name, metadata);
            Ok(Some(tree.shown(metadata)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(TreeError::io("look up", path.join(name))(error)),
    }
}

/// Returns the extended attributes of an open directory.
pub(crate) fn xattrs(handle: BorrowedFd<'_>, path: &Path) -> Result<Vec<Xattr>> {
    xattr::read_handle(handle).map_err(TreeError::io("read the extended attributes of", path))
}

/// Returns the extended attributes of an open file.
pub(crate) fn xattrs_of(handle: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
    xattr::read_handle(handle)
}

/// Returns the metadata of an open file.
pub(crate) fn opened_metadata(handle: BorrowedFd<'_>) -> Result<Metadata, Errno> {
    directory::stat_handle(handle)
}

/// As [`opened_metadata`], with `path` in the error.
pub(crate) fn metadata_of(handle: BorrowedFd<'_>, path: &Path) -> Result<Metadata> {
    directory::stat_handle(handle).map_err(TreeError::io("look up", path))
}
