//! The walls that a command puts up before it begins.

use std::io;
use std::os::fd::AsFd;

use kiln_runspec::LandlockRules;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::procfs;
use crate::syscall;

pub(super) fn forbid_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Kernels that stack security modules have a file for each.
pub(super) fn set_apparmor_profile(profile: &str) -> io::Result<()> {
    let order = format!("exec {profile}");
    match procfs::write_own("attr/apparmor/exec", &order) {
        Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
            procfs::write_own("attr/exec", &order)
        }
        result => result,
    }
}

pub(super) fn set_selinux_label(label: &str) -> io::Result<()> {
    procfs::write_own("attr/exec", label)
}

/// Access to files as Landlock numbers it, by the version that it came with.
const ACCESS: [(u32, u64); 4] = [(1, 0x1fff), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15)];

/// Abstract sockets, and signals.
const SCOPES: u64 = 1 | 1 << 1;

/// Landlock knows no mounts: inside a sandbox nothing may mount anyway.
pub(super) fn restrict(rules: &LandlockRules) -> io::Result<()> {
    let known = ACCESS.iter().filter(|(since, _)| *since <= rules.version);
    let access = match rules.root_alone {
        true => known.fold(0, |all, (_, bits)| all | bits),
        false => 0,
    };
    let scopes = if rules.scopes { SCOPES } else { 0 };
    let ruleset = syscall::landlock_ruleset(access, scopes, rules.version)?;
    if rules.root_alone {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty())?;
        syscall::landlock_allow(ruleset.as_fd(), root.as_fd(), access)?;
    }
    syscall::landlock_restrict(ruleset.as_fd())
}
