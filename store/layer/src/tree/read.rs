//! Looking at a tree.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat};

use super::directory::{Directory, stat_handle};
use super::{
    FileKind, Follow, Metadata, Result, Tree, TreeError, Xattr, directory, note, resolve, xattr,
};

/// A file that a tree shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its path, free of links, `.` and `..`, relative to the root; empty for the root.
    pub path: PathBuf,
    /// What is known of it.
    pub metadata: Metadata,
}

/// A file that a directory shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory.
    pub name: OsString,
    /// What is known of it.
    pub metadata: Metadata,
}

impl Tree {
    /// Returns what is at `path`; `None` when nothing is.
    ///
    /// A path that leads through something other than a directory leads to nothing.
    pub fn lookup(&self, path: impl AsRef<Path>, follow: Follow) -> Result<Option<Node>> {
        let resolved = match self.resolve(path.as_ref(), follow) {
            Err(TreeError::NotADirectory(_)) => return Ok(None),
            resolved => resolved?,
        };
        let node = |found: directory::Found| Node {
            path: resolved.path,
            metadata: self.shown(found.metadata),
        };
        Ok(resolved.found.map(node))
    }

    /// Returns where `path` leads, or would lead if it were made: without links, `.` and
    /// `..`, relative to the root.
    pub fn resolve_path(&self, path: impl AsRef<Path>, follow: Follow) -> Result<PathBuf> {
        Ok(self.resolve(path.as_ref(), follow)?.path)
    }

    /// Returns what the directory at `path` shows, sorted by the bytes of the names.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<Entry>> {
        let path = path.as_ref();
        let (directory, path) = self.open_directory(path)?;
        let listed = directory
            .list(self.flavor)
            .map_err(TreeError::io("read the directory", &path))?;
        let mut entries = Vec::with_capacity(listed.len());
        for (name, part, kind) in listed {
            if let Some(metadata) = self.entry(&directory, &path, &name, part, kind)? {
                let metadata = self.shown(metadata);
                entries.push(Entry { name, metadata });
            }
        }
        Ok(entries)
    }

    /// Returns the metadata of a listed entry; none if it is ignored or has just gone.
    fn entry(
        &self,
        directory: &Directory,
        path: &Path,
        name: &OsString,
        part: usize,
        kind: FileType,
    ) -> Result<Option<Metadata>> {
        if let Some(ignore) = &self.ignore
            && ignore.excludes(&path.join(name), &directory.parent_match)
        {
            // The patterns often exclude most of a context: no system call for those.
            let known_file = kind != FileType::Directory && kind != FileType::Unknown;
            if known_file || ignore.can_prune(path.join(name)) {
                return Ok(None);
            }
            return Ok(self
                .find(directory, path, name)?
                .map(|found| found.metadata));
        }
        match directory::stat(directory.parts[part].as_fd(), name) {
            Ok(metadata) => {
                let part = directory.parts[part].as_fd();
                let metadata = note::noted(self.flavor, part, name, metadata);
                Ok(Some(metadata).filter(|metadata| !self.is_hidden(metadata)))
            }
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(TreeError::io("look up", path.join(name))(error)),
        }
    }

    fn open_directory(&self, path: &Path) -> Result<(std::sync::Arc<Directory>, PathBuf)> {
        let (parent, found, resolved) = self.resolve(path, Follow::All)?.existing(path)?;
        if !found.metadata.is_directory() {
            return Err(TreeError::NotADirectory(path.to_path_buf()));
        }
        if resolved.as_os_str().is_empty() {
            return Ok((parent, resolved));
        }
        let directory = self.enter(&parent, &resolved, found.part)?;
        Ok((directory, resolved))
    }

    /// Opens the regular file at `path`, following links. Nothing else is ever opened:
    /// a pipe would block, a device would act.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        self.open_regular(path.as_ref(), Follow::All)
            .map(|opened| opened.0)
    }

    /// Opens the regular file at `path` itself, with its metadata; a link is an error.
    pub fn open_exactly(&self, path: impl AsRef<Path>) -> Result<(File, Metadata)> {
        self.open_regular(path.as_ref(), Follow::ParentsOnly)
    }

    /// Opens the regular file at `path`, which is free of links, of a tree of one directory,
    /// without looking at it: whoever reads it must look whether it is what was expected.
    pub(crate) fn open_seen(&self, path: &Path) -> Result<File> {
        let missing = || TreeError::NotFound(path.to_path_buf());
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = self.directory_at(above)?.ok_or_else(missing)?;
        let part = parent.parts.first().ok_or_else(missing)?;
        let name = path.file_name().unwrap_or_default();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle =
            openat(part, name, flags, Mode::empty()).map_err(TreeError::io("open", path))?;
        Ok(File::from(handle))
    }

    fn open_regular(&self, path: &Path, follow: Follow) -> Result<(File, Metadata)> {
        let (parent, found, resolved) = self.resolve(path, follow)?.existing(path)?;
        refuse_irregular(path, found.metadata.kind)?;
        let name = resolved.file_name().unwrap_or_default();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = openat(&parent.parts[found.part], name, flags, Mode::empty())
            .map_err(TreeError::io("open", path))?;
        // It may have been replaced since it was looked at.
        let metadata = stat_handle(handle.as_fd()).map_err(TreeError::io("look up", path))?;
        let metadata = note::noted_handle(self.flavor, handle.as_fd(), metadata);
        refuse_irregular(path, metadata.kind)?;
        Ok((File::from(handle), self.shown(metadata)))
    }

    /// Returns the content of the regular file at `path`, following links; `None` when there
    /// is none. Errors: a file of more than `limit_bytes`.
    pub fn read_small(&self, path: impl AsRef<Path>, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        if self.lookup(path, Follow::All)?.is_none() {
            return Ok(None);
        }
        let mut content = Vec::new();
        self.open_file(path)?
            .take(limit_bytes.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(TreeError::io("read", path))?;
        if content.len() as u64 > limit_bytes {
            let path = path.to_path_buf();
            return Err(TreeError::TooLarge { path, limit_bytes });
        }
        Ok(Some(content))
    }

    /// Returns the target of the symbolic link at `path`, as it is written there.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let (parent, found, resolved) = self.resolve(path, Follow::ParentsOnly)?.existing(path)?;
        let name = resolved.file_name().unwrap_or_default();
        resolve::read_link_at(&parent, name, found.part)
            .map_err(TreeError::io("read the link", path))
    }

    /// Returns the extended attributes of what is at `path` itself, sorted by name, without
    /// those that belong to overlayfs or to this machine ([`super::belongs_to_file`]).
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<Xattr>> {
        let path = path.as_ref();
        let (parent, found, resolved) = self.resolve(path, Follow::ParentsOnly)?.existing(path)?;
        let read = match (resolved.file_name(), parent.parts.get(found.part)) {
            (_, None) => Ok(Vec::new()),
            (None, Some(part)) => xattr::read_handle(part.as_fd()),
            (Some(name), Some(part)) => xattr::read(part.as_fd(), name),
        };
        read.map_err(TreeError::io("read the extended attributes of", path))
    }

    /// Whether owners that the kernel does not take are noted beside files.
    pub(crate) fn has_notes(&self) -> bool {
        self.flavor.has_notes()
    }

    /// Returns the extended attributes of an open file, as [`Tree::xattrs`] does; `path` is
    /// for messages.
    pub(crate) fn xattrs_of(file: &File, path: &Path) -> Result<Vec<Xattr>> {
        xattr::read_handle(file.as_fd())
            .map_err(TreeError::io("read the extended attributes of", path))
    }

    /// Whether there is something at `path` if ignore patterns are left aside.
    pub(crate) fn exists_ignored(&self, path: &Path) -> bool {
        let Some(root) = self.root.parts.first() else {
            return false;
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, flags, Mode::empty(), within).is_ok()
    }
}

fn refuse_irregular(path: &Path, kind: FileKind) -> Result<()> {
    match kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(TreeError::IsADirectory(path.to_path_buf())),
        kind => Err(TreeError::NotRegular {
            path: path.to_path_buf(),
            kind,
        }),
    }
}
