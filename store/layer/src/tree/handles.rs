//! Directories by their handles: what is read and made in them takes no path, on any thread.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use super::directory::{self, Directory, Flavor};
use super::resolve::read_link_at;
use super::{Attributes, Metadata, NewFile, Result, Tree, TreeError, note, xattr};

/// A directory of a tree of one directory.
#[derive(Clone, Debug)]
pub(crate) struct OpenDirectory {
    directory: Arc<Directory>,
    flavor: Flavor,
}

/// A directory of the upper directory of a tree, in which files are made.
///
/// Other threads may make files of other names in it meanwhile; nobody else may change it.
#[derive(Clone, Debug)]
pub(crate) struct UpperDirectory {
    path: PathBuf,
    directory: Arc<Directory>,
    flavor: Flavor,
}

impl Tree {
    /// Returns the directory at `path`, which is free of links, of a tree of one directory.
    pub(crate) fn open_directory_seen(&self, path: &Path) -> Result<Option<OpenDirectory>> {
        let directory = self.directory_at(path)?;
        let directory = directory.filter(|directory| directory.parts.len() == 1);
        Ok(directory.map(|directory| OpenDirectory {
            directory,
            flavor: self.flavor,
        }))
    }

    /// Returns the directory at `path`, copied up if it was not yet; none if nothing is there, or
    /// links lead there.
    pub(crate) fn upper_directory(&mut self, path: &Path) -> Result<Option<UpperDirectory>> {
        if self.directory_at(path)?.is_none() {
            return Ok(None);
        }
        Ok(Some(UpperDirectory {
            path: path.to_path_buf(),
            directory: self.writable(path)?,
            flavor: self.flavor,
        }))
    }
}

impl OpenDirectory {
    /// Opens the regular file `name`, without looking at it: whoever reads it must look whether
    /// it is what was expected.
    pub fn open_seen(&self, name: &OsStr) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(self.handle(), name, flags, Mode::empty()).map(File::from)
    }

    /// Returns the metadata of an open file of it.
    pub fn opened(&self, file: &File) -> Result<Metadata, Errno> {
        let metadata = directory::stat_handle(file.as_fd())?;
        Ok(note::noted_handle(self.flavor, file.as_fd(), metadata))
    }

    /// Returns its metadata; none if it hides what lies below it or has extended attributes.
    pub fn plain_metadata(&self) -> Option<Metadata> {
        let handle = self.handle();
        let is_opaque = match self.flavor {
            Flavor::Layers(format) => xattr::is_opaque(format, handle),
            Flavor::Host | Flavor::NotedHost => false,
        };
        if is_opaque || !xattr::read_handle(handle).ok()?.is_empty() {
            return None;
        }
        let metadata = directory::stat_handle(handle).ok()?;
        Some(note::noted_handle(self.flavor, handle, metadata))
    }

    /// Calls `visit` for each name in it, in no order, with whether that is a directory.
    pub fn for_each_name(&self, mut visit: impl FnMut(&[u8], bool)) -> Result<(), Errno> {
        directory::for_each_name(self.handle(), |name, kind| {
            visit(name, kind == FileType::Directory);
            Ok(())
        })
    }

    /// Returns the symbolic link `name`: what is known of it and what it says.
    pub fn link(&self, name: &OsStr) -> Result<(Metadata, PathBuf), Errno> {
        let metadata = directory::stat(self.handle(), name)?;
        let metadata = note::noted(self.flavor, self.handle(), name, metadata);
        let says = read_link_at(&self.directory, name, 0)?;
        Ok((metadata, says))
    }

    fn handle(&self) -> BorrowedFd<'_> {
        self.directory.parts[0].as_fd()
    }
}

impl UpperDirectory {
    /// Returns its path, which is free of links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes an empty regular file, as [`Tree::create_file`] does.
    pub fn create_file(&self, name: &OsStr, attributes: Attributes) -> Result<NewFile> {
        let made = self.make(name, |parent| create(parent, name, &attributes));
        Ok(NewFile {
            file: File::from(made.map_err(|error| self.refused("create", name, error))?),
            path: self.path.join(name),
            attributes,
            flavor: self.flavor,
        })
    }

    /// Makes `name` a further name of the file that `other` has under it. Nobody may change
    /// either file then.
    pub fn adopt(&self, name: &OsStr, other: &OpenDirectory) -> Result<()> {
        let link =
            |parent: BorrowedFd<'_>| linkat(other.handle(), name, parent, name, AtFlags::empty());
        let made = self.make(name, link);
        made.map_err(|error| self.refused("make the hard link", name, error))
    }

    /// Makes something with `make`, which fails if anything is there; then that is removed, if
    /// it is no directory.
    fn make<T>(
        &self,
        name: &OsStr,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if self.is_directory_below(name)? {
            return Err(Errno::ISDIR);
        }
        let upper = self.directory.parts[0].as_fd();
        match make(upper) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(upper, name, AtFlags::empty())?;
                make(upper)
            }
            made => made,
        }
    }

    /// Whether the layers below show a directory under a name.
    fn is_directory_below(&self, name: &OsStr) -> Result<bool, Errno> {
        if self.directory.parts.len() == 1 {
            return Ok(false);
        }
        let found = self.directory.find(self.flavor, name)?;
        Ok(found.is_some_and(|found| found.metadata.is_directory()))
    }

    fn refused(&self, action: &'static str, name: &OsStr, error: Errno) -> TreeError {
        let path = self.path.join(name);
        match error {
            Errno::ISDIR => TreeError::IsADirectory(path),
            error => TreeError::io(action, path)(error),
        }
    }
}

/// Makes an empty regular file that nobody has.
pub(super) fn create(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    attributes: &Attributes,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Mostly these are right at once, and need not be set later.
    openat(parent, name, flags, Mode::from(attributes.mode & 0o777))
}
