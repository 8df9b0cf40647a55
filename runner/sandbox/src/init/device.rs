//! `/dev`: a file system in memory with the standard devices and links.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_runspec::{DeviceSource, MountAttributes, defaults};
use rustix::fs::{FileType, Mode, OFlags};

use super::mount;
use super::perform::Context;

const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

const DIRECTORIES: [&str; 3] = ["pts", "shm", "mqueue"];

/// Returns a mount of `/dev`, not yet attached there.
///
/// It is made on a handle of its own, so whatever the image has at `/dev` plays no part.
pub(super) fn devices(
    nodes: DeviceSource,
    attributes: MountAttributes,
    context: &mut Context,
) -> io::Result<OwnedFd> {
    let size = Some(defaults::DEV_SIZE_BYTES);
    let devices = mount::tmpfs(size, Some(0o755), attributes)?;
    if nodes == DeviceSource::Host {
        // Kernels before 6.15 mount nothing on what is attached nowhere.
        let place = mount::scratch_directory("devices", context)?;
        mount::attach(&devices, place.as_fd())?;
    }
    for name in DIRECTORIES {
        rustix::fs::mkdirat(&devices, name, Mode::from_raw_mode(0o755))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &devices, name)?;
    }
    for (name, major, minor) in DEVICES {
        match nodes {
            DeviceSource::Made => make(devices.as_fd(), name, major, minor)?,
            DeviceSource::Host => hand_on(devices.as_fd(), name, major, minor)?,
        }
    }
    context.null_device = Some(mount::open_entry(devices.as_fd(), "null")?);
    Ok(devices)
}

fn make(devices: BorrowedFd<'_>, name: &str, major: u32, minor: u32) -> io::Result<()> {
    let number = rustix::fs::makedev(major, minor);
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(devices, name, FileType::CharacterDevice, mode, number)?;
    mount::set_mode(devices, name, 0o666)
}

fn hand_on(devices: BorrowedFd<'_>, name: &str, major: u32, minor: u32) -> io::Result<()> {
    let device = mount::host_device(&format!("/dev/{name}"), major, minor)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(devices, name, flags, Mode::from_raw_mode(0o666))?;
    let target = mount::open_entry(devices, name)?;
    let attributes = MountAttributes {
        no_set_user_id: true,
        no_exec: true,
        ..MountAttributes::PLAIN
    };
    mount::attach(&mount::bind(device.as_fd(), attributes)?, target.as_fd())
}
