//! Changing a tree: all changes go to the upper directory.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::attributes::{apply_to_handle, apply_to_name, apply_to_new, copy_attributes, times};
use super::directory::{self, Directory, Flavor};
use super::handles;
use super::metadata::is_whiteout_device;
use super::note::{self, Device, Note};
use super::resolve::Resolved;
use super::upper::{Place, make_node};
use super::{Attributes, FileKind, Follow, NewFile, Result, Timestamp, Tree, TreeError};

/// The kernel keeps 12 bits of the major and 20 of the minor number.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// What becomes of what lies below a new directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// It would be seen.
    Shown,
    Hidden,
}

impl Tree {
    /// Makes the directory at `path`; one that is there keeps its content and gets the
    /// attributes. Its parent must exist. Errors: something else is there.
    pub fn make_directory(
        &mut self,
        path: impl AsRef<Path>,
        attributes: &Attributes,
    ) -> Result<()> {
        let path = path.as_ref();
        if self.make_new_directory(path, attributes)? {
            return Ok(());
        }
        let place = match self.place(path) {
            Err(TreeError::Root) => return self.set_attributes(path, attributes),
            place => place?,
        };
        match place.found {
            Some(found) if found.metadata.is_directory() => self.set_attributes(path, attributes),
            Some(_) => Err(TreeError::NotADirectory(path.to_path_buf())),
            None => self.make_missing_directory(&place, attributes),
        }
    }

    /// Makes the directory at `path` if nothing is there and it is known that nothing lies below;
    /// whether it did.
    pub(crate) fn make_new_directory(
        &mut self,
        path: &Path,
        attributes: &Attributes,
    ) -> Result<bool> {
        let Some(parent) = self.sole_parent(path) else {
            return Ok(false);
        };
        self.note_time(path.parent().unwrap_or(Path::new("")), &parent)?;
        let (upper, name) = (parent.parts[0].as_fd(), path.file_name());
        let mode = Mode::from(attributes.mode & 0o777);
        match rustix::fs::mkdirat(upper, name.unwrap_or_default(), mode) {
            Err(Errno::EXIST) => Ok(false),
            made => {
                made.map_err(TreeError::io("make the directory", path))?;
                self.furnish_directory(&parent, path, attributes, Below::Shown)?;
                Ok(true)
            }
        }
    }

    /// Makes the directory at `path` and its missing parents, all with `attributes`; those
    /// that exist are left alone. Links are followed, the last one too. Returns the resolved
    /// path.
    pub fn make_parents(
        &mut self,
        path: impl AsRef<Path>,
        attributes: &Attributes,
    ) -> Result<PathBuf> {
        let resolved = self.resolve(path.as_ref(), Follow::All)?;
        self.make_missing_parents(&resolved, attributes)?;
        Ok(resolved.path)
    }

    fn make_missing_parents(&mut self, resolved: &Resolved, attributes: &Attributes) -> Result<()> {
        match resolved.found {
            Some(found) if found.metadata.is_directory() => return Ok(()),
            Some(_) => return Err(TreeError::NotADirectory(resolved.path.clone())),
            None => {}
        }
        let mut missing = Vec::new();
        for path in resolved.path.ancestors() {
            if self.directory_at(path)?.is_some() {
                break;
            }
            missing.push(path);
        }
        for path in missing.into_iter().rev() {
            let place = self.place(path)?;
            self.make_missing_directory(&place, attributes)?;
        }
        Ok(())
    }

    fn make_missing_directory(&mut self, place: &Place, attributes: &Attributes) -> Result<()> {
        let hides = self.clear_upper(place)? | place.lies_below(self.flavor)?;
        rustix::fs::mkdirat(
            place.upper(),
            place.name(),
            Mode::from(attributes.mode & 0o777),
        )
        .map_err(TreeError::io("make the directory", &place.path))?;
        let below = match hides {
            true => Below::Hidden,
            false => Below::Shown,
        };
        self.furnish_directory(&place.parent, &place.path, attributes, below)
    }

    /// Gives a directory that was just made its attributes. Its time is set when all is written.
    fn furnish_directory(
        &mut self,
        parent: &Directory,
        path: &Path,
        attributes: &Attributes,
        below: Below,
    ) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        let handle = directory::open_child(parent.parts[0].as_fd(), name)
            .map_err(TreeError::io("open the directory", path))?;
        if below == Below::Hidden {
            self.mark_opaque(handle.as_fd(), path)?;
        }
        let without_time = Attributes {
            modified: None,
            ..attributes.clone()
        };
        apply_to_new(self.flavor, handle.as_fd(), &without_time, path)?;
        self.keep_time(path, attributes);
        self.remember(path, vec![handle]);
        Ok(())
    }

    /// Makes an empty regular file at `path`, in place of another file. Write its content
    /// and finish it. Errors: a directory is there.
    pub fn create_file(
        &mut self,
        path: impl AsRef<Path>,
        attributes: &Attributes,
    ) -> Result<NewFile> {
        let create =
            |parent: BorrowedFd<'_>, name: &OsStr| handles::create(parent, name, attributes);
        let (handle, path) = self.make_new(path.as_ref(), "create", create)?;
        Ok(NewFile {
            file: File::from(handle),
            path,
            attributes: attributes.clone(),
            flavor: self.flavor,
        })
    }

    /// Makes a symbolic link at `path` that says `target`, in place of another file.
    pub fn symlink(
        &mut self,
        path: impl AsRef<Path>,
        target: impl AsRef<Path>,
        attributes: &Attributes,
    ) -> Result<()> {
        self.make_symlink(path.as_ref(), target.as_ref(), attributes)
            .map(drop)
    }

    /// As [`Tree::symlink`]; returns where the link lies, without links.
    pub(crate) fn make_symlink(
        &mut self,
        path: &Path,
        target: &Path,
        attributes: &Attributes,
    ) -> Result<PathBuf> {
        let place = self.free_place(path)?;
        let link =
            |parent: BorrowedFd<'_>, name: &OsStr| rustix::fs::symlinkat(target, parent, name);
        self.make_at(&place, "make the symbolic link", link)?;
        apply_to_name(
            self.flavor,
            place.upper(),
            place.name(),
            FileKind::Symlink,
            attributes,
            &place.path,
        )?;
        Ok(place.path)
    }

    /// Makes `path` another name of the file at `existing`, which is not followed if it is a
    /// link. Errors: `existing` is missing or a directory.
    pub fn hard_link(&mut self, path: impl AsRef<Path>, existing: impl AsRef<Path>) -> Result<()> {
        let existing = existing.as_ref();
        let source = self.copied_up(existing)?;
        let found = source.found.map(|found| found.metadata);
        if found.is_none_or(|metadata| metadata.is_directory()) {
            return Err(TreeError::IsADirectory(existing.to_path_buf()));
        }
        if self.resolve(path.as_ref(), Follow::ParentsOnly)?.path == source.path {
            return Ok(());
        }
        let place = self.free_place(path.as_ref())?;
        let link = |parent: BorrowedFd<'_>, name: &OsStr| {
            let no_follow = AtFlags::empty();
            rustix::fs::linkat(source.upper(), source.name(), parent, name, no_follow)
        };
        self.make_at(&place, "make the hard link", link)
    }

    /// Makes a named pipe, a socket or a device at `path`, in place of another file.
    /// `device` is the major and minor number of a device.
    pub fn special(
        &mut self,
        path: impl AsRef<Path>,
        kind: FileKind,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        let path = path.as_ref();
        check_device(path, kind, device)?;
        if self.means_deleted(kind) {
            return self.remove(path).map(drop);
        }
        if is_device(kind) && self.flavor.has_notes() {
            return self.note_device(path, kind, device, attributes);
        }
        let place = self.free_place(path)?;
        let make = |parent: BorrowedFd<'_>, name: &OsStr| {
            make_node(parent, name, kind.file_type(), device)
        };
        self.make_at(&place, "make the special file", make)?;
        apply_to_name(
            self.flavor,
            place.upper(),
            place.name(),
            kind,
            attributes,
            &place.path,
        )
    }

    /// Whether such a file cannot be told from what stands for a deleted name: no archive holds
    /// sockets, so that a layer has none either is nothing new.
    fn means_deleted(&self, kind: FileKind) -> bool {
        let Flavor::Layers(format) = self.flavor else {
            return false;
        };
        kind == FileKind::Socket && format.whiteout_node().0 == FileKind::Socket
    }

    /// Makes an empty file that stands for a device.
    fn note_device(
        &mut self,
        path: &Path,
        kind: FileKind,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        let file = self.create_file(path, attributes)?;
        let handle = file
            .file
            .try_clone()
            .map_err(TreeError::io("note the device", path))?;
        file.finish()?;
        let note = Note {
            uid: attributes.uid,
            gid: attributes.gid,
            device: Some(Device {
                is_block: kind == FileKind::BlockDevice,
                major: device.0,
                minor: device.1,
            }),
        };
        note::write_handle(handle.as_fd(), note).map_err(TreeError::io("note the device", path))
    }

    /// Gives what is at `path` itself new attributes. What lies below is copied up first.
    pub fn set_attributes(
        &mut self,
        path: impl AsRef<Path>,
        attributes: &Attributes,
    ) -> Result<()> {
        let path = path.as_ref();
        let resolved = self.resolve(path, Follow::ParentsOnly)?;
        let is_directory = resolved
            .found
            .is_some_and(|found| found.metadata.is_directory());
        if is_directory {
            let directory = self.writable(&resolved.path)?;
            apply_to_handle(self.flavor, directory.parts[0].as_fd(), attributes, path)?;
            self.keep_time(&resolved.path, attributes);
            return Ok(());
        }
        let place = self.copied_up(path)?;
        let found = place.found.map(|found| found.metadata);
        let kind = found.map_or(FileKind::Regular, |metadata| metadata.kind);
        if is_device(kind) && self.flavor.has_notes() {
            let device = found.map_or((0, 0), |metadata| metadata.special_device);
            return self.note_device(path, kind, device, attributes);
        }
        apply_to_name(
            self.flavor,
            place.upper(),
            place.name(),
            kind,
            attributes,
            path,
        )
    }

    /// Removes what is at `path` itself, with everything in it; whether something was there.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<bool> {
        let path = path.as_ref();
        if self.resolve(path, Follow::ParentsOnly)?.found.is_none() {
            return Ok(false);
        }
        let place = self.place(path)?;
        self.clear_upper(&place)?;
        if place.lies_below(self.flavor)? {
            self.make_whiteout(&place)?;
        }
        Ok(true)
    }

    /// Hides `path`, whether or not something lies below: for layers that are unpacked
    /// without the ones below them. Its parent must exist.
    pub fn whiteout(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let place = self.place(path.as_ref())?;
        self.clear_upper(&place)?;
        self.make_whiteout(&place)
    }

    /// Hides what layers below have in the directory at `path`.
    pub fn set_opaque(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let resolved = self.resolve(path.as_ref(), Follow::ParentsOnly)?;
        let directory = self.writable(&resolved.path)?;
        let Flavor::Layers(_) = self.flavor else {
            return self.empty(&resolved.path);
        };
        self.mark_opaque(directory.parts[0].as_fd(), &resolved.path)?;
        self.lock().clear();
        Ok(())
    }

    /// Removes all that the directory at `path` holds.
    fn empty(&mut self, path: &Path) -> Result<()> {
        for entry in self.read_dir(path)? {
            self.remove(path.join(entry.name))?;
        }
        Ok(())
    }

    /// Ends the writing: gives the directories that were written to their modification
    /// times. Those whose time was never set keep the one they had before.
    pub fn finish(&mut self) -> Result<()> {
        // What lies together is opened together.
        let mut times_of: Vec<_> = self.directory_times.iter().collect();
        times_of.sort_unstable_by_key(|(path, _)| path.as_os_str());
        for (path, modified) in times_of {
            self.set_directory_time(path, *modified)?;
        }
        Ok(())
    }

    /// Sets the time of a directory by its name in the one above, which mostly is open.
    fn set_directory_time(&self, path: &Path, modified: Timestamp) -> Result<()> {
        let times = times(Some(modified));
        let Some(name) = path.file_name() else {
            let set = rustix::fs::futimens(&self.root.parts[0], &times);
            return set.map_err(TreeError::io("set the time of", path));
        };
        let above = self.directory_at(path.parent().unwrap_or(Path::new("")))?;
        let Some(above) = above.filter(|above| above.has_upper) else {
            return Ok(());
        };
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::utimensat(&above.parts[0], name, &times, no_follow) {
            // It was removed again.
            Err(Errno::NOENT) => Ok(()),
            set => set.map_err(TreeError::io("set the time of", path)),
        }
    }

    /// Gives an empty upper root the attributes of the root below it.
    pub(super) fn prepare_root(&self) -> Result<()> {
        let [upper, lower, ..] = self.root.parts.as_slice() else {
            return Ok(());
        };
        let root = Path::new("/");
        let mut empty = true;
        let visit = |_: &[u8], _| {
            empty = false;
            Ok(())
        };
        directory::for_each_name(upper.as_fd(), visit)
            .map_err(TreeError::io("read the directory", root))?;
        if empty {
            copy_attributes(self.flavor, lower.as_fd(), upper.as_fd(), root)?;
        }
        Ok(())
    }
}

fn is_device(kind: FileKind) -> bool {
    matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice)
}

fn check_device(path: &Path, kind: FileKind, device: (u32, u32)) -> Result<()> {
    let is_whiteout = is_whiteout_device(kind, device);
    let (major, minor) = device;
    if is_whiteout || is_device(kind) && (major > MAX_MAJOR || minor > MAX_MINOR) {
        let path = path.to_path_buf();
        return Err(TreeError::InvalidDevice { path, device });
    }
    Ok(())
}
