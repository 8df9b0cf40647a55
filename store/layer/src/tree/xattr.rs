//! Extended attributes: which belong to a file, and which to overlayfs or this machine.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::{WhiteoutFormat, Xattr};

const VALUE_BYTES: usize = 64 * 1024;

impl WhiteoutFormat {
    /// Name of the attribute that marks an opaque directory.
    pub fn opaque_name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User | Self::Contained => "user.overlay.opaque",
            Self::ContainedUser => "user.kiln.opaque",
        }
    }
}

/// Whether an attribute is part of a file, rather than overlayfs' bookkeeping or a label
/// that this machine gave it.
pub fn belongs_to_file(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let ours = name == super::note::FILE_ATTRIBUTE.as_bytes()
        || name == WhiteoutFormat::ContainedUser.opaque_name().as_bytes();
    let kept = name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || name.starts_with(b"system.posix_acl_")
        || name == b"security.capability";
    kept && !overlay && !ours
}

pub(super) fn is_opaque(format: WhiteoutFormat, directory: BorrowedFd<'_>) -> bool {
    let mut value = [0_u8; 2];
    match rustix::fs::fgetxattr(directory, format.opaque_name(), &mut value) {
        Ok(length) => &value[..length] == b"y",
        Err(_) => false,
    }
}

pub(super) fn set_opaque(format: WhiteoutFormat, directory: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsetxattr(directory, format.opaque_name(), b"y", XattrFlags::empty())
}

/// A path by which the kernel finds `name` in an open directory without resolving anything
/// else: extended attributes have no calls that take a directory handle.
pub(super) fn path_by_handle(parent: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    path.push(name);
    path
}

/// Returns the attributes of the open file, by name.
pub(super) fn read_handle(handle: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
    read_with(
        |list| rustix::fs::flistxattr(handle, list),
        |name, value| rustix::fs::fgetxattr(handle, name, value),
    )
}

/// Returns the attributes of `name` in `parent`, not of what a link there points to.
pub(super) fn read(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<Xattr>, Errno> {
    let path = path_by_handle(parent, name);
    read_with(
        |list| rustix::fs::llistxattr(&path, list),
        |name, value| rustix::fs::lgetxattr(&path, name, value),
    )
}

fn read_with(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&OsStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, Errno> {
    let mut buffer = [0_u8; 1024];
    let names = match list(&mut buffer) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => buffer[..length].to_vec(),
        Err(Errno::RANGE) => {
            // The kernel's limit for a list.
            let mut large = vec![0_u8; VALUE_BYTES];
            let length = list(&mut large)?;
            large.truncate(length);
            large
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        let name = OsString::from_vec(name.to_vec());
        if belongs_to_file(&name) {
            match get_value(&name, &get) {
                Ok(value) => found.push(Xattr { name, value }),
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error),
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn get_value(
    name: &OsStr,
    get: impl Fn(&OsStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; VALUE_BYTES];
    let length = get(name, &mut value)?;
    value.truncate(length);
    Ok(value)
}

/// Sets attributes on the open file. Those a file system or a namespace does not know are
/// left out: a copy without them is worth more than none.
pub(super) fn set_handle(handle: BorrowedFd<'_>, xattrs: &[Xattr]) -> Result<(), Errno> {
    set_with(xattrs, |xattr| {
        rustix::fs::fsetxattr(handle, &xattr.name, &xattr.value, XattrFlags::empty())
    })
}

/// Sets attributes on `name` in `parent`, not on what a link there points to.
pub(super) fn set(parent: BorrowedFd<'_>, name: &OsStr, xattrs: &[Xattr]) -> Result<(), Errno> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let path = path_by_handle(parent, name);
    set_with(xattrs, |xattr| {
        rustix::fs::lsetxattr(&path, &xattr.name, &xattr.value, XattrFlags::empty())
    })
}

fn set_with(xattrs: &[Xattr], set: impl Fn(&Xattr) -> Result<(), Errno>) -> Result<(), Errno> {
    for xattr in xattrs.iter().filter(|xattr| belongs_to_file(&xattr.name)) {
        match set(xattr) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
