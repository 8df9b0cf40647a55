//! Writing to files of `/proc` that really are.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// `linux/magic.h`, and the number of the root of every `/proc`.
const PROC_MAGIC: u64 = 0x9fa0;
const PROC_ROOT: u64 = 1;

/// Opens a file of `/proc` by a path below it. Nothing that is mounted there, and no link, is
/// gone through.
fn open(path: &str, flags: OFlags) -> io::Result<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open("/proc", directory, Mode::empty())?;
    if !is_procfs(root.as_fd())? || rustix::fs::fstat(&root)?.st_ino != PROC_ROOT {
        return Err(Errno::NODEV.into());
    }
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_XDEV
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?;
    Ok(File::from(file))
}

/// Returns whether a handle names something of a `/proc`.
pub(super) fn is_procfs(handle: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(handle)?.f_type as u64 == PROC_MAGIC)
}

/// Writes `text` to a file of `/proc` at once.
pub(crate) fn write(path: &str, text: &str) -> io::Result<()> {
    open(path, OFlags::WRONLY)?.write_all(text.as_bytes())
}

/// Writes `text` to a file of this process.
pub(crate) fn write_own(name: &str, text: &str) -> io::Result<()> {
    let process = rustix::process::getpid().as_raw_nonzero();
    write(&format!("{process}/{name}"), text)
}

/// Lets users take low ports and send pings in this network namespace, as in Docker's
/// containers. A container around may refuse it: then only root can, as before.
pub(crate) fn open_network() {
    let _ = write("sys/net/ipv4/ip_unprivileged_port_start", "0");
    // The last group must be one that exists in the user namespace.
    for last in [2_147_483_647, 65_535, 0] {
        let range = format!("0 {last}");
        if write("sys/net/ipv4/ping_group_range", &range).is_ok() {
            return;
        }
    }
}

/// Takes away a protection from being killed for memory that the caller has.
pub(super) fn give_up_protection() -> io::Result<()> {
    let score = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    match score.trim_end().starts_with('-') {
        true => write_own("oom_score_adj", "0"),
        false => Ok(()),
    }
}
