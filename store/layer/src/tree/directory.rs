//! One directory of a union: a handle per layer that has it, top layer first.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::metadata::is_whiteout_device;
use super::{FileKind, Metadata, note, xattr};
use crate::pattern::ParentMatch;

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Large enough that most directories need one system call.
const DIRECTORY_BUFFER_BYTES: usize = 64 * 1024;

/// How layers of a tree say that something below is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhiteoutFormat {
    /// Opaque directories carry `trusted.overlay.opaque`: mounts made by root.
    Trusted,
    /// Opaque directories carry `user.overlay.opaque`: mounts in a user namespace.
    User,
    /// The same, and a deleted name is a character device 0:1: nothing mounts these layers,
    /// and within a mounted overlay the kernel lets nobody make the device 0:0.
    Contained,
    /// Nothing mounts these layers, and who makes them can make no devices: a deleted name is a
    /// socket, of which layers have none otherwise, and opaque directories carry an attribute of
    /// our own, since within an overlay that a user mounted `user.overlay.*` is that overlay's.
    ContainedUser,
}

impl WhiteoutFormat {
    /// Whether layers of this form can be mounted.
    pub fn is_mountable(self) -> bool {
        matches!(self, Self::Trusted | Self::User)
    }

    /// Whether what a user may not give to a file is noted beside it.
    pub fn has_notes(self) -> bool {
        matches!(self, Self::User | Self::ContainedUser)
    }

    /// Returns the form in which a plain directory is captured that is no layer: sockets in it
    /// are sockets.
    pub fn of_plain_directory(self) -> Self {
        match self {
            Self::ContainedUser => Self::User,
            other => other,
        }
    }

    /// Returns what stands for a deleted name: the kind of file, and the number of a device.
    pub(super) fn whiteout_node(self) -> (FileKind, (u32, u32)) {
        match self {
            Self::Trusted | Self::User => (FileKind::CharacterDevice, (0, 0)),
            Self::Contained => (FileKind::CharacterDevice, (0, 1)),
            Self::ContainedUser => (FileKind::Socket, (0, 0)),
        }
    }

    /// Whether a file of a layer means "deleted". Layers of devices take both numbers for that:
    /// no driver has either.
    pub(crate) fn is_whiteout(self, metadata: &Metadata) -> bool {
        match self.whiteout_node().0 {
            FileKind::Socket => metadata.kind == FileKind::Socket,
            _ => is_whiteout_device(metadata.kind, metadata.special_device),
        }
    }
}

/// How the directories of a tree are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    /// One directory in which nothing has a special meaning.
    Host,
    /// The same, but for what is noted beside files.
    NotedHost,
    /// A stack of layers.
    Layers(WhiteoutFormat),
}

impl Flavor {
    /// Whether a file of the uppermost directory that has the name says that there is none.
    pub fn hides(self, metadata: &Metadata) -> bool {
        match self {
            Self::Host | Self::NotedHost => false,
            Self::Layers(format) => format.is_whiteout(metadata),
        }
    }
}

/// One directory, open in each layer that contributes to it, top first.
#[derive(Debug)]
pub(super) struct Directory {
    pub parts: Vec<OwnedFd>,
    /// Whether the first part lies in the upper directory.
    pub has_upper: bool,
    /// What the ignore patterns say of the directory itself.
    pub parent_match: ParentMatch,
}

/// Something that a directory shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub metadata: Metadata,
    /// Index of the part that it lies in.
    pub part: usize,
}

impl Directory {
    /// Returns what the union shows under `name`.
    pub fn find(&self, flavor: Flavor, name: &OsStr) -> Result<Option<Found>, Errno> {
        for (part, handle) in self.parts.iter().enumerate() {
            match stat(handle.as_fd(), name) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
                Ok(metadata) if flavor.hides(&metadata) => return Ok(None),
                Ok(metadata) => {
                    let metadata = note::noted(flavor, handle.as_fd(), name, metadata);
                    return Ok(Some(Found { metadata, part }));
                }
            }
        }
        Ok(None)
    }

    /// Opens the directory `name`, whose uppermost occurrence is in `part`.
    pub fn descend(&self, flavor: Flavor, name: &OsStr, part: usize) -> Result<Self, Errno> {
        let mut parts = Vec::with_capacity(1);
        for handle in &self.parts[part..] {
            let opened = match openat(handle, name, OPEN_DIRECTORY, Mode::empty()) {
                Ok(opened) => opened,
                Err(Errno::NOENT) => continue,
                // A file or a whiteout hides what lies below it.
                Err(Errno::NOTDIR | Errno::LOOP) if !parts.is_empty() => break,
                Err(error) => return Err(error),
            };
            let opaque = self.parts.len() - part > 1 && is_opaque(flavor, opened.as_fd());
            parts.push(opened);
            if opaque {
                break;
            }
        }
        if parts.is_empty() {
            return Err(Errno::NOENT);
        }
        Ok(Self {
            parts,
            has_upper: self.has_upper && part == 0,
            parent_match: ParentMatch::default(),
        })
    }

    /// Returns the names the union shows, with the part each is shown from, in byte order.
    pub fn list(&self, flavor: Flavor) -> Result<Vec<(OsString, usize, FileType)>, Errno> {
        let mut listed = if self.parts.len() == 1 {
            self.list_part(0)?
        } else {
            self.list_merged()?
        };
        if let Flavor::Layers(format) = flavor {
            let whiteout = format.whiteout_node().0.file_type();
            let mut failure = None;
            listed.retain(|(name, part, kind)| {
                *kind != whiteout
                    || match stat(self.parts[*part].as_fd(), name) {
                        Ok(metadata) => !flavor.hides(&metadata),
                        Err(error) => {
                            failure = Some(error);
                            false
                        }
                    }
            });
            if let Some(error) = failure {
                return Err(error);
            }
        }
        listed.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        Ok(listed)
    }

    fn list_merged(&self) -> Result<Vec<(OsString, usize, FileType)>, Errno> {
        let mut seen = HashMap::new();
        for part in 0..self.parts.len() {
            for (name, part, kind) in self.list_part(part)? {
                seen.entry(name).or_insert((part, kind));
            }
        }
        let flat = |(name, (part, kind))| (name, part, kind);
        Ok(seen.into_iter().map(flat).collect())
    }

    fn list_part(&self, part: usize) -> Result<Vec<(OsString, usize, FileType)>, Errno> {
        let mut names = Vec::new();
        for_each_name(self.parts[part].as_fd(), |name, kind| {
            names.push((OsString::from_vec(name.to_vec()), part, kind));
            Ok(())
        })?;
        Ok(names)
    }
}

/// Calls `visit` for each name in a directory, in the file system's order.
pub(super) fn for_each_name(
    directory: BorrowedFd<'_>,
    mut visit: impl FnMut(&[u8], FileType) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // A second handle: the position of the first one is shared by all who use it.
    let handle = openat(directory, c".", OPEN_DIRECTORY, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); DIRECTORY_BUFFER_BYTES];
    let mut entries = RawDir::new(handle, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            visit(name.to_bytes(), entry.file_type())?;
        }
    }
    Ok(())
}

/// Opens the root directory of a layer or of a context. Symbolic links are followed: the
/// path is the caller's own.
pub(super) fn open_root(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Opens the directory `name` itself, never what a link there points to.
pub(super) fn open_child(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(parent, name, OPEN_DIRECTORY, Mode::empty())
}

/// Returns the metadata of `name` itself, never of what a link there points to.
pub(super) fn stat(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Metadata, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = statx(parent, name.as_bytes(), flags, StatxFlags::BASIC_STATS)?;
    Ok(Metadata::from_statx(&stat))
}

/// Returns the metadata of an open file.
pub(super) fn stat_handle(handle: BorrowedFd<'_>) -> Result<Metadata, Errno> {
    let stat = statx(handle, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(Metadata::from_statx(&stat))
}

fn is_opaque(flavor: Flavor, directory: BorrowedFd<'_>) -> bool {
    match flavor {
        Flavor::Host | Flavor::NotedHost => false,
        Flavor::Layers(format) => xattr::is_opaque(format, directory),
    }
}
