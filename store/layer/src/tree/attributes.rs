//! Giving files their attributes, by handle.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::directory::{Flavor, stat_handle};
use super::note::{self, Note};
use super::{Attributes, FileKind, Result, Timestamp, TreeError, xattr};

pub(super) fn copy_attributes(
    flavor: Flavor,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    path: &Path,
) -> Result<()> {
    let metadata = stat_handle(from).map_err(TreeError::io("look up", path))?;
    let metadata = note::noted_handle(flavor, from, metadata);
    let mut attributes = metadata.attributes();
    attributes.xattrs =
        xattr::read_handle(from).map_err(TreeError::io("read the extended attributes of", path))?;
    apply_to_handle(flavor, to, &attributes, path)
}

/// Sets all attributes of an open file or directory.
pub(super) fn apply_to_handle(
    flavor: Flavor,
    handle: BorrowedFd<'_>,
    attributes: &Attributes,
    path: &Path,
) -> Result<()> {
    // The owner first: changing it clears set-user-ID bits and capabilities.
    set_owner(flavor, handle, attributes).map_err(TreeError::io("set the owner of", path))?;
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

/// Sets the owner of an open file, or notes it where the kernel does not know it.
fn set_owner(
    flavor: Flavor,
    handle: BorrowedFd<'_>,
    attributes: &Attributes,
) -> std::result::Result<(), Errno> {
    let (uid, gid) = (attributes.uid, attributes.gid);
    let owned = rustix::fs::fchown(handle, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match owned {
        Err(Errno::INVAL | Errno::PERM) if flavor.has_notes() => {
            let device = None;
            note::write_handle(handle, Note { uid, gid, device })
        }
        Ok(()) if flavor.has_notes() => note::remove_handle(handle),
        other => other,
    }
}

/// Sets those attributes of an open file or directory that was just made which it does not have
/// yet: each that is set is written to the journal of the file system.
pub(super) fn apply_to_new(
    flavor: Flavor,
    handle: BorrowedFd<'_>,
    attributes: &Attributes,
    path: &Path,
) -> Result<()> {
    let made = stat_handle(handle).map_err(TreeError::io("look up", path))?;
    let is_owner_right = (made.uid, made.gid) == (attributes.uid, attributes.gid);
    if !is_owner_right || made.mode != attributes.mode & 0o7777 {
        return apply_to_handle(flavor, handle, attributes, path);
    }
    xattr::set_handle(handle, &attributes.xattrs)
        .map_err(TreeError::io("set the extended attributes of", path))?;
    if attributes.modified.is_none() {
        return Ok(());
    }
    rustix::fs::futimens(handle, &times(attributes.modified))
        .map_err(TreeError::io("set the time of", path))
}

/// Sets all attributes of `name` in `parent`, never of what a link there points to.
pub(super) fn apply_to_name(
    flavor: Flavor,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileKind,
    attributes: &Attributes,
    path: &Path,
) -> Result<()> {
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    if flavor.has_notes() && matches!(kind, FileKind::Regular | FileKind::Directory) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(TreeError::io("open", path))?;
        return apply_to_handle(flavor, handle.as_fd(), attributes, path);
    }
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    match rustix::fs::chownat(parent, name, Some(uid), Some(gid), no_follow) {
        Err(Errno::INVAL | Errno::PERM) if flavor.has_notes() => {
            let (uid, gid) = (attributes.uid, attributes.gid);
            let device = None;
            note::write_name(parent, name, Note { uid, gid, device })
                .map_err(TreeError::io("note the owner of", path))?;
        }
        owned => owned.map_err(TreeError::io("set the owner of", path))?,
    }
    if kind != FileKind::Symlink {
        chmod(parent, name, Mode::from(attributes.mode & 0o7777))
            .map_err(TreeError::io("set the permissions of", path))?;
    }
    // Where what is no regular file has a note, no other attribute may pass for it.
    if !flavor.has_notes() {
        xattr::set(parent, name, &attributes.xattrs)
            .map_err(TreeError::io("set the extended attributes of", path))?;
    }
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

pub(super) fn times(modified: Option<Timestamp>) -> Timestamps {
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
