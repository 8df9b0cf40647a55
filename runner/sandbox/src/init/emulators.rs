//! Emulators of this sandbox alone: registrations of its user namespace.

use std::io;
use std::os::fd::AsFd;

use kiln_runspec::MountAttributes;
use kiln_runspec::emulation::Registration;
use rustix::fs::{Mode, OFlags};

use super::perform::Context;
use super::{failed, mount};
use crate::error::StepFailure;

/// Registers emulators. They are gone with the last handle of their file system, which process 1
/// keeps; the command sees nothing of it.
///
/// Sandboxes of a builder that is itself in a user namespace share that one's registrations.
pub(super) fn register(
    registrations: &[Registration],
    context: &mut Context,
) -> Result<(), StepFailure> {
    let mounted = mount::file_system("binfmt_misc", &[], MountAttributes::PLAIN)
        .map_err(failed("mount binfmt_misc of a user namespace"))?;
    for registration in registrations {
        let emulator = registration.interpreter.display();
        let action = format!("register the emulator {emulator}");
        register_one(&mounted, registration).map_err(failed(action))?;
    }
    context.emulators = Some(mounted);
    Ok(())
}

fn register_one(mounted: &impl AsFd, registration: &Registration) -> io::Result<()> {
    let unwritable = || io::Error::from_raw_os_error(libc::EINVAL);
    let line = registration.line().ok_or_else(unwritable)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let register = rustix::fs::openat(mounted, "register", flags, Mode::empty())?;
    // At once: the kernel takes each write for a registration.
    match rustix::io::write(&register, &line) {
        // A sandbox beside this one was first.
        Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
