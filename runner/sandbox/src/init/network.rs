//! Networks that the caller made.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use kiln_runspec::MountAttributes;
use rustix::fs::{Mode, OFlags};

use super::mount;
use super::perform::{Context, present};
use crate::syscall;

/// Enters the network that was handed over, and lets go of it.
pub(super) fn join(context: &mut Context) -> io::Result<()> {
    let network = present(&context.network)?;
    syscall::enter_namespace(network.as_raw_fd(), libc::CLONE_NEWNET)?;
    context.network = None;
    Ok(())
}

/// Shows the network as the file `network` of a file system in memory that hides `over`.
pub(super) fn show(over: &Path, context: &mut Context) -> io::Result<()> {
    let place = context.open_host(over)?;
    let mounted = mount::tmpfs(None, None, MountAttributes::DATA)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = rustix::fs::openat(&mounted, "network", flags, mode)?;
    mount::attach(&mounted, place.as_fd())?;
    let network = mount::bind_alone(present(&context.network)?)?;
    mount::attach(&network, file.as_fd())?;
    context.network = None;
    Ok(())
}

/// Mounts the kernel's devices as this network has them, in this mount namespace.
pub(super) fn renew_sys() -> io::Result<()> {
    let mounted = mount::file_system("sysfs", &[], MountAttributes::DATA)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open("/sys", flags, Mode::empty())?;
    mount::attach(&mounted, place.as_fd())
}
