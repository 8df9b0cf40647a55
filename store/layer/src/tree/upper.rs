//! The upper directory: where changes go, and what is copied up to it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::attributes::copy_attributes;
use super::directory::{self, Directory, Found, stat_handle};
use super::{Attributes, FileKind, Flavor, Follow, Result, Tree, TreeError, note, xattr};

/// Where something is about to be made.
pub(super) struct Place {
    pub parent: Arc<Directory>,
    pub path: PathBuf,
    pub found: Option<Found>,
}

impl Place {
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    pub fn upper(&self) -> BorrowedFd<'_> {
        self.parent.parts[0].as_fd()
    }

    /// Whether a layer below the upper directory has the name.
    pub fn lies_below(&self, flavor: Flavor) -> Result<bool> {
        for part in &self.parent.parts[1..] {
            match directory::stat(part.as_fd(), self.name()) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(TreeError::io("look up", &self.path)(error)),
                Ok(metadata) => return Ok(!flavor.hides(&metadata)),
            }
        }
        Ok(false)
    }
}

impl Tree {
    /// Finds where `path` is or would be, its parent being writable.
    pub(super) fn place(&mut self, path: &Path) -> Result<Place> {
        let resolved = self.resolve(path, Follow::ParentsOnly)?;
        if resolved.path.as_os_str().is_empty() {
            return Err(TreeError::Root);
        }
        let Some(seen) = resolved.parent.as_ref() else {
            return Err(TreeError::NotFound(resolved.parent_path().to_path_buf()));
        };
        let parent = self.writable(resolved.parent_path())?;
        let found = match Arc::ptr_eq(seen, &parent) {
            true => resolved.found,
            false => self.find(&parent, resolved.parent_path(), resolved.name())?,
        };
        Ok(Place {
            parent,
            path: resolved.path,
            found,
        })
    }

    /// Finds where a file at `path` can be made: what is there may be replaced.
    pub(super) fn free_place(&mut self, path: &Path) -> Result<Place> {
        let place = self.place(path)?;
        match place.found {
            Some(found) if found.metadata.is_directory() => {
                Err(TreeError::IsADirectory(path.to_path_buf()))
            }
            _ => Ok(place),
        }
    }

    /// Makes something with `make`, which fails if anything is there; then that is removed.
    pub(super) fn make_at<T>(
        &mut self,
        place: &Place,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        let made = match make(place.upper(), place.name()) {
            Err(Errno::EXIST) => {
                self.clear_upper(place)?;
                make(place.upper(), place.name())
            }
            made => made,
        };
        made.map_err(TreeError::io(action, &place.path))
    }

    /// Makes something at `path`, in place of another file, with `make`, which fails if anything
    /// is there. Returns where it lies, without links.
    pub(super) fn make_new<T>(
        &mut self,
        path: &Path,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> std::result::Result<T, Errno>,
    ) -> Result<(T, PathBuf)> {
        // Where nothing lies below, `make` says whether something is there.
        if let Some(parent) = self.sole_parent(path) {
            self.note_time(path.parent().unwrap_or(Path::new("")), &parent)?;
            match make(
                parent.parts[0].as_fd(),
                path.file_name().unwrap_or_default(),
            ) {
                Err(Errno::EXIST) => {}
                made => {
                    let made = made.map_err(TreeError::io(action, path))?;
                    return Ok((made, path.to_path_buf()));
                }
            }
        }
        let place = self.free_place(path)?;
        let made = self.make_at(&place, action, make)?;
        Ok((made, place.path))
    }

    /// Returns the directory that holds `path`, if it is known to be reached without links and
    /// only the upper directory has it.
    pub(super) fn sole_parent(&self, path: &Path) -> Option<Arc<Directory>> {
        let parent = self.reached_parent(path)?;
        (parent.has_upper && parent.parts.len() == 1).then_some(parent)
    }

    /// Returns the directory that holds `path`, if it is known to be reached without links.
    fn reached_parent(&self, path: &Path) -> Option<Arc<Directory>> {
        let (above, name) = (path.parent()?, path.file_name()?);
        // As written: without `.` and further slashes.
        let length = above.as_os_str().len() + 1 + name.len();
        let bytes = path.as_os_str().as_bytes();
        let is_plain = bytes.len() == length && !bytes.windows(2).any(|pair| pair == b"/.");
        is_plain.then(|| self.lock().get(above)).flatten()
    }

    /// Removes what the upper directory has under a name; whether it was a whiteout.
    pub(super) fn clear_upper(&mut self, place: &Place) -> Result<bool> {
        let metadata = match directory::stat(place.upper(), place.name()) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.map_err(TreeError::io("look up", &place.path))?,
        };
        if metadata.is_directory() {
            self.forget(&place.path);
        }
        remove_recursively(place.upper(), place.name())
            .map_err(TreeError::io("remove", &place.path))?;
        Ok(self.flavor.hides(&metadata))
    }

    pub(super) fn make_whiteout(&mut self, place: &Place) -> Result<()> {
        // Also a directory that only lies below may be open.
        self.forget(&place.path);
        let Flavor::Layers(format) = self.flavor else {
            return Ok(());
        };
        let (kind, device) = format.whiteout_node();
        make_node(place.upper(), place.name(), kind.file_type(), device)
            .map_err(TreeError::io("make the whiteout", &place.path))
    }

    /// Forgets what is known of a directory that goes away, and of all in it.
    fn forget(&mut self, path: &Path) {
        self.lock().clear();
        self.directory_times
            .retain(|known, _| !known.starts_with(path));
    }

    /// Returns the directory at the resolved `path`, copied up if it was not yet.
    pub(super) fn writable(&mut self, path: &Path) -> Result<Arc<Directory>> {
        let directory = self
            .directory_at(path)?
            .ok_or_else(|| TreeError::NotADirectory(path.to_path_buf()))?;
        if directory.has_upper {
            self.note_time(path, &directory)?;
            return Ok(directory);
        }
        let (false, Some(name)) = (self.is_read_only(), path.file_name()) else {
            return Err(TreeError::ReadOnly(path.to_path_buf()));
        };
        let parent = self.writable(path.parent().unwrap_or(Path::new("")))?;
        let upper = parent.parts[0].as_fd();
        rustix::fs::mkdirat(upper, name, Mode::from(0o700))
            .map_err(TreeError::io("make the directory", path))?;
        let handle = directory::open_child(upper, name)
            .map_err(TreeError::io("open the directory", path))?;
        copy_attributes(
            self.flavor,
            directory.parts[0].as_fd(),
            handle.as_fd(),
            path,
        )?;
        let mut parts = vec![handle];
        for lower in &directory.parts {
            let duplicate = rustix::io::fcntl_dupfd_cloexec(lower, 0)
                .map_err(TreeError::io("open the directory", path))?;
            parts.push(duplicate);
        }
        let copied = self.remember(path, parts);
        self.note_time(path, &copied)?;
        Ok(copied)
    }

    /// Returns the attributes that the directory at the resolved `path` of the upper directory
    /// has in the end, and whether it is opaque; none if it is not there or has extended
    /// attributes, which what is made in it may inherit.
    pub(crate) fn plain_upper(&self, path: &Path) -> Option<(Attributes, bool)> {
        let directory = self.directory_at(path).ok()?;
        let directory = directory.filter(|directory| directory.has_upper)?;
        let handle = directory.parts.first()?.as_fd();
        let Flavor::Layers(format) = self.flavor else {
            return None;
        };
        if !xattr::read_handle(handle).ok()?.is_empty() {
            return None;
        }
        let metadata = note::noted_handle(self.flavor, handle, stat_handle(handle).ok()?);
        let mut attributes = metadata.attributes();
        if let Some(modified) = self.directory_times.get(path) {
            attributes.modified = Some(*modified);
        }
        Some((attributes, xattr::is_opaque(format, handle)))
    }

    /// Whether the upper directory has the directory at the resolved `path`.
    pub(crate) fn is_in_upper(&self, path: &Path) -> bool {
        let directory = self.directory_at(path).ok().flatten();
        directory.is_some_and(|directory| directory.has_upper)
    }

    fn is_read_only(&self) -> bool {
        !self.root.has_upper
    }

    pub(super) fn remember(&mut self, path: &Path, parts: Vec<OwnedFd>) -> Arc<Directory> {
        let directory = Arc::new(Directory {
            parts,
            has_upper: true,
            parent_match: Default::default(),
        });
        self.lock().insert(path, directory.clone());
        directory
    }

    /// Remembers a directory's time before its content changes, unless one is already set.
    pub(super) fn note_time(&mut self, path: &Path, directory: &Directory) -> Result<()> {
        if !self.directory_times.contains_key(path) {
            let metadata =
                stat_handle(directory.parts[0].as_fd()).map_err(TreeError::io("look up", path))?;
            self.directory_times
                .insert(path.to_path_buf(), metadata.modified);
        }
        Ok(())
    }

    pub(super) fn keep_time(&mut self, path: &Path, attributes: &Attributes) {
        if let Some(modified) = attributes.modified {
            self.directory_times.insert(path.to_path_buf(), modified);
        }
    }

    pub(super) fn mark_opaque(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<()> {
        match self.flavor {
            Flavor::Host | Flavor::NotedHost => Ok(()),
            Flavor::Layers(format) => {
                xattr::set_opaque(format, directory).map_err(TreeError::io("mark as opaque", path))
            }
        }
    }

    /// Returns the place of an existing file that is not a directory, copied up.
    pub(super) fn copied_up(&mut self, path: &Path) -> Result<Place> {
        let place = self.place(path)?;
        let Some(found) = place.found else {
            return Err(TreeError::NotFound(path.to_path_buf()));
        };
        if found.part == 0 {
            return Ok(place);
        }
        let mut attributes = found.metadata.attributes();
        attributes.xattrs = self.xattrs(&place.path)?;
        match found.metadata.kind {
            FileKind::Directory => return Err(TreeError::IsADirectory(path.to_path_buf())),
            FileKind::Regular => {
                let (mut content, _) = self.open_exactly(&place.path)?;
                let mut copy = self.create_file(&place.path, &attributes)?;
                std::io::copy(&mut content, copy.file()).map_err(TreeError::io("copy up", path))?;
                copy.finish()?;
            }
            FileKind::Symlink => {
                let target = self.read_link(&place.path)?;
                self.symlink(&place.path, target, &attributes)?;
            }
            kind => {
                let device = found.metadata.special_device;
                self.special(&place.path, kind, device, &attributes)?;
            }
        }
        self.place(path)
    }
}

pub(super) fn make_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    file_type: FileType,
    (major, minor): (u32, u32),
) -> std::result::Result<(), Errno> {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(parent, name, file_type, Mode::empty(), device)
}

fn remove_recursively(parent: BorrowedFd<'_>, name: &OsStr) -> std::result::Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    let directory = directory::open_child(parent, name)?;
    let mut names = Vec::new();
    directory::for_each_name(directory.as_fd(), |name, _| {
        names.push(name.to_vec());
        Ok(())
    })?;
    for name in names {
        remove_recursively(directory.as_fd(), OsStr::from_bytes(&name))?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
