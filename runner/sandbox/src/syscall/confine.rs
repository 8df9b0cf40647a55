//! Landlock, and mounts that are mapped to a user namespace.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// Returns the version of Landlock; 0 where there is none.
pub(crate) fn landlock_version() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: asks for the version: no attributes are read.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// Makes a set of rules that is about `access` to files and about `scopes`.
pub(crate) fn landlock_ruleset(access: u64, scopes: u64, version: u32) -> io::Result<OwnedFd> {
    // Files, ports, scopes; older versions know fewer of them.
    let attributes: [u64; 3] = [access, 0, scopes];
    let known = match version {
        0..4 => 1,
        4 | 5 => 2,
        _ => 3,
    };
    // SAFETY: pointer and size describe the beginning of an array that lives until the call
    // returns.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attributes.as_ptr(),
            known * size_of::<u64>(),
            0,
        )
    };
    check(ruleset as libc::c_int)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(ruleset as libc::c_int) })
}

/// Allows `access` to all below a directory.
pub(crate) fn landlock_allow(
    ruleset: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    access: u64,
) -> io::Result<()> {
    #[repr(C, packed)]
    struct Beneath {
        access: u64,
        directory: i32,
    }
    const PATH_BENEATH: libc::c_int = 1;
    let rule = Beneath {
        access,
        directory: directory.as_raw_fd(),
    };
    // SAFETY: the rule has the kernel's layout and lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            PATH_BENEATH,
            &rule,
            0,
        )
    };
    check(result as libc::c_int)
}

/// Restricts this process for good.
pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    check(result as libc::c_int)
}

/// Maps the owners in a mount, attached nowhere, to those of a user namespace.
pub(crate) fn map_mount(mounted: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    // SAFETY: path is an empty string that ends with a zero byte, the attributes have the
    // layout and the size that are passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mounted.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result as libc::c_int)
}

/// Makes files from here on as another user and group, with all rights that this process has.
pub(crate) fn own_files_as(user: u32) -> io::Result<()> {
    const SET_SECUREBITS: libc::c_int = 28;
    const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: all take numbers only; the first keeps rights from changing with the user.
    unsafe {
        check(libc::prctl(SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0))?;
        libc::setfsuid(user);
        libc::setfsgid(user);
        check(libc::prctl(SET_SECUREBITS, 0, 0, 0, 0))?;
    }
    Ok(())
}

/// Enters a namespace by its descriptor.
pub(crate) fn enter_namespace(namespace: libc::c_int, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers only; a process of one thread, or the kernel refuses.
    check(unsafe { libc::setns(namespace, kind) })
}
