//! The program of the hidden mode, such that nobody inside can write to its file.
//!
//! A process inside can get at the file it was started from (`#!/proc/self/exe`) and
//! wait until it may be written. So it is started through a read-only mount of its own,
//! or else from a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use kiln_runspec::MountAttributes;
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::syscall;

/// An opened program.
#[derive(Debug)]
pub(super) struct Program {
    handle: OwnedFd,
}

impl Program {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let handle = match read_only_mount(path) {
            Ok(handle) => handle,
            Err(_) => sealed_copy(path)?,
        };
        Ok(Self { handle })
    }

    pub(super) fn command(&self) -> Command {
        let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        let mut command = Command::new(path);
        command.arg0("kiln");
        command
    }
}

fn read_only_mount(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, path, flags)?;
    let attributes = MountAttributes {
        read_only: true,
        no_set_user_id: true,
        no_devices: true,
        no_exec: false,
    };
    syscall::set_mount_attributes(mount.as_fd(), attributes)?;
    Ok(mount)
}

fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("kiln", flags)?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(path)?, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    while_busy(|| rustix::fs::fcntl_add_seals(&copy, seals))?;
    // A file that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// How often something that is busy is tried, and after what pause again.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(20);

/// Does `work`, again as long as that ends with `EBUSY`. Nothing is sealed against writing while the
/// kernel holds one of its pages for whatever else, such as to move or to watch it.
fn while_busy(mut work: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    for _ in 1..TRIES {
        match work() {
            Err(Errno::BUSY) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_busy_is_tried_again_and_not_for_ever() {
        let mut tries = 0;
        let mut busy_for = |times: u32| {
            tries = 0;
            while_busy(|| {
                tries += 1;
                match tries > times {
                    true => Ok(()),
                    false => Err(Errno::BUSY),
                }
            })
        };
        assert_eq!(busy_for(0), Ok(()));
        assert_eq!(busy_for(3), Ok(()));
        assert_eq!(busy_for(u32::MAX), Err(Errno::BUSY));
        assert_eq!(tries, TRIES);
        assert_eq!(while_busy(|| Err(Errno::PERM)), Err(Errno::PERM));
    }

    #[test]
    fn copies_in_memory_are_the_program_and_sealed() {
        let path = std::env::current_exe().expect("this program");
        let mut copy = File::from(sealed_copy(&path).expect("a copy"));
        let mut text = Vec::new();
        io::Read::read_to_end(&mut copy, &mut text).expect("its content");
        assert!(text == std::fs::read(&path).expect("this program"));
        let seals = rustix::fs::fcntl_get_seals(&copy).expect("its seals");
        assert!(seals.contains(SealFlags::WRITE | SealFlags::SEAL));
    }
}
