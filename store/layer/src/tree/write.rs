//! Changing a tree: all changes go to the upper directory.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid,
};
use rustix::io::Errno;

use super::directory::{self, Directory, Found, stat_handle};
use super::resolve::Resolved;
use super::{
    Attributes, FileKind, Flavor, Follow, NewFile, Result, Timestamp, Tree, TreeError, xattr,
};

const WHITEOUT_DEVICE: Dev = 0;
/// The kernel keeps 12 bits of the major and 20 of the minor number.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// Where something is about to be made.
struct Place {
    parent: Arc<Directory>,
    path: PathBuf,
    found: Option<Found>,
}

impl Place {
    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    fn upper(&self) -> BorrowedFd<'_> {
        self.parent.parts[0].as_fd()
    }

    /// Whether a layer below the upper directory has the name.
    fn lies_below(&self, flavor: Flavor) -> Result<bool> {
        for part in &self.parent.parts[1..] {
            match directory::stat(part.as_fd(), self.name()) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(TreeError::io("look up", &self.path)(error)),
                Ok(metadata) => return Ok(flavor == Flavor::Host || !metadata.is_whiteout()),
            }
        }
        Ok(false)
    }
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
        rustix::fs::mkdirat(place.upper(), place.name(), Mode::from(0o700))
            .map_err(TreeError::io("make the directory", &place.path))?;
        let handle = directory::open_child(place.upper(), place.name())
            .map_err(TreeError::io("open the directory", &place.path))?;
        if hides {
            self.mark_opaque(handle.as_fd(), &place.path)?;
        }
        apply_to_handle(handle.as_fd(), attributes, &place.path)?;
        self.keep_time(&place.path, attributes);
        self.remember(&place.path, vec![handle]);
        Ok(())
    }

    /// Makes an empty regular file at `path`, in place of another file. Write its content
    /// and finish it. Errors: a directory is there.
    pub fn create_file(
        &mut self,
        path: impl AsRef<Path>,
        attributes: &Attributes,
    ) -> Result<NewFile> {
        let place = self.free_place(path.as_ref())?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |parent: BorrowedFd<'_>, name: &OsStr| {
            rustix::fs::openat(parent, name, flags, Mode::from(0o600))
        };
        let handle = self.make_at(&place, "create", create)?;
        Ok(NewFile {
            file: File::from(handle),
            path: place.path,
            attributes: attributes.clone(),
        })
    }

    /// Makes a symbolic link at `path` that says `target`, in place of another file.
    pub fn symlink(
        &mut self,
        path: impl AsRef<Path>,
        target: impl AsRef<Path>,
        attributes: &Attributes,
    ) -> Result<()> {
        let place = self.free_place(path.as_ref())?;
        let target = target.as_ref();
        let link =
            |parent: BorrowedFd<'_>, name: &OsStr| rustix::fs::symlinkat(target, parent, name);
        self.make_at(&place, "make the symbolic link", link)?;
        apply_to_name(
            place.upper(),
            place.name(),
            FileKind::Symlink,
            attributes,
            &place.path,
        )
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
        let place = self.free_place(path)?;
        let make = |parent: BorrowedFd<'_>, name: &OsStr| {
            make_node(parent, name, kind.file_type(), device)
        };
        self.make_at(&place, "make the special file", make)?;
        apply_to_name(place.upper(), place.name(), kind, attributes, &place.path)
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
            apply_to_handle(directory.parts[0].as_fd(), attributes, path)?;
            self.keep_time(&resolved.path, attributes);
            return Ok(());
        }
        let place = self.copied_up(path)?;
        let kind = place
            .found
            .map_or(FileKind::Regular, |found| found.metadata.kind);
        apply_to_name(place.upper(), place.name(), kind, attributes, path)
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
        self.mark_opaque(directory.parts[0].as_fd(), &resolved.path)?;
        self.lock().clear();
        Ok(())
    }

    /// Ends the writing: gives the directories that were written to their modification
    /// times. Those whose time was never set keep the one they had before.
    pub fn finish(&mut self) -> Result<()> {
        for (path, modified) in &self.directory_times {
            let Some(directory) = self.directory_at(path)? else {
                continue;
            };
            if directory.has_upper {
                rustix::fs::futimens(&directory.parts[0], &times(Some(*modified)))
                    .map_err(TreeError::io("set the time of", path))?;
            }
        }
        Ok(())
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
            copy_attributes(lower.as_fd(), upper.as_fd(), root)?;
        }
        Ok(())
    }

    /// Finds where `path` is or would be, its parent being writable.
    fn place(&mut self, path: &Path) -> Result<Place> {
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
    fn free_place(&mut self, path: &Path) -> Result<Place> {
        let place = self.place(path)?;
        match place.found {
            Some(found) if found.metadata.is_directory() => {
                Err(TreeError::IsADirectory(path.to_path_buf()))
            }
            _ => Ok(place),
        }
    }

    /// Makes something with `make`, which fails if anything is there; then that is removed.
    fn make_at<T>(
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

    /// Removes what the upper directory has under a name; whether it was a whiteout.
    fn clear_upper(&mut self, place: &Place) -> Result<bool> {
        let metadata = match directory::stat(place.upper(), place.name()) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.map_err(TreeError::io("look up", &place.path))?,
        };
        if metadata.is_directory() {
            self.forget(&place.path);
        }
        remove_recursively(place.upper(), place.name())
            .map_err(TreeError::io("remove", &place.path))?;
        Ok(metadata.is_whiteout())
    }

    fn make_whiteout(&mut self, place: &Place) -> Result<()> {
        // Also a directory that only lies below may be open.
        self.forget(&place.path);
        let (name, device) = (place.name(), (0, 0));
        make_node(place.upper(), name, FileType::CharacterDevice, device)
            .map_err(TreeError::io("make the whiteout", &place.path))
    }

    /// Forgets what is known of a directory that goes away, and of all in it.
    fn forget(&mut self, path: &Path) {
        self.lock().clear();
        self.directory_times
            .retain(|known, _| !known.starts_with(path));
    }

    /// Returns the directory at the resolved `path`, copied up if it was not yet.
    fn writable(&mut self, path: &Path) -> Result<Arc<Directory>> {
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
        copy_attributes(directory.parts[0].as_fd(), handle.as_fd(), path)?;
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

    fn is_read_only(&self) -> bool {
        !self.root.has_upper
    }

    fn remember(&mut self, path: &Path, parts: Vec<OwnedFd>) -> Arc<Directory> {
        let directory = Arc::new(Directory {
            parts,
            has_upper: true,
            parent_match: Default::default(),
        });
        self.lock().insert(path, directory.clone());
        directory
    }

    /// Remembers a directory's time before its content changes, unless one is already set.
    fn note_time(&mut self, path: &Path, directory: &Directory) -> Result<()> {
        if !self.directory_times.contains_key(path) {
            let metadata =
                stat_handle(directory.parts[0].as_fd()).map_err(TreeError::io("look up", path))?;
            self.directory_times
                .insert(path.to_path_buf(), metadata.modified);
        }
        Ok(())
    }

    fn keep_time(&mut self, path: &Path, attributes: &Attributes) {
        if let Some(modified) = attributes.modified {
            self.directory_times.insert(path.to_path_buf(), modified);
        }
    }

    fn mark_opaque(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<()> {
        match self.flavor {
            Flavor::Host => Ok(()),
            Flavor::Layers(format) => {
                xattr::set_opaque(format, directory).map_err(TreeError::io("mark as opaque", path))
            }
        }
    }

    /// Returns the place of an existing file that is not a directory, copied up.
    fn copied_up(&mut self, path: &Path) -> Result<Place> {
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

fn check_device(path: &Path, kind: FileKind, device: (u32, u32)) -> Result<()> {
    let is_device = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
    let is_whiteout = kind == FileKind::CharacterDevice && device == (0, 0);
    let (major, minor) = device;
    if is_whiteout || is_device && (major > MAX_MAJOR || minor > MAX_MINOR) {
        let path = path.to_path_buf();
        return Err(TreeError::InvalidDevice { path, device });
    }
    Ok(())
}

fn make_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    file_type: FileType,
    (major, minor): (u32, u32),
) -> std::result::Result<(), Errno> {
    let device = match (major, minor) {
        (0, 0) => WHITEOUT_DEVICE,
        (major, minor) => rustix::fs::makedev(major, minor),
    };
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
        use std::os::unix::ffi::OsStrExt;
        remove_recursively(directory.as_fd(), OsStr::from_bytes(&name))?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let metadata = stat_handle(from).map_err(TreeError::io("look up", path))?;
    let mut attributes = metadata.attributes();
    attributes.xattrs =
        xattr::read_handle(from).map_err(TreeError::io("read the extended attributes of", path))?;
    apply_to_handle(to, &attributes, path)
}

/// Sets all attributes of an open file or directory.
pub(super) fn apply_to_handle(
    handle: BorrowedFd<'_>,
    attributes: &Attributes,
    path: &Path,
) -> Result<()> {
    // The owner first: changing it clears set-user-ID bits and capabilities.
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    rustix::fs::fchown(handle, Some(uid), Some(gid))
        .map_err(TreeError::io("set the owner of", path))?;
    rustix::fs::fchmod(handle, Mode::from(attributes.mode & 0o7777))
        .map_err(TreeError::io("set the permissions of", path))?;
    xattr::set_handle(handle, &attributes.xattrs)
        .map_err(TreeError::io("set the extended attributes of", path))?;
    if attributes.modified.is_none() {
        return Ok(());
    }
    rustix::fs::futimens(handle, &times(attributes.modified))
        .map_err(TreeError::io("set the time of", path))
}

/// Sets all attributes of `name` in `parent`, never of what a link there points to.
fn apply_to_name(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileKind,
    attributes: &Attributes,
    path: &Path,
) -> Result<()> {
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), no_follow)
        .map_err(TreeError::io("set the owner of", path))?;
    if kind != FileKind::Symlink {
        chmod(parent, name, Mode::from(attributes.mode & 0o7777))
            .map_err(TreeError::io("set the permissions of", path))?;
    }
    xattr::set(parent, name, &attributes.xattrs)
        .map_err(TreeError::io("set the extended attributes of", path))?;
    if attributes.modified.is_none() {
        return Ok(());
    }
    rustix::fs::utimensat(parent, name, &times(attributes.modified), no_follow)
        .map_err(TreeError::io("set the time of", path))
}

/// Sets the permissions of a file by a handle that neither opens a device nor follows links.
fn chmod(parent: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> std::result::Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), mode)
}

fn times(modified: Option<Timestamp>) -> Timestamps {
    let last_modification = match modified {
        Some(at) => Timespec {
            tv_sec: at.seconds,
            tv_nsec: i64::from(at.nanoseconds),
        },
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
    };
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification,
    }
}
