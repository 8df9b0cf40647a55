//! Finds the rung: a child really tries to get namespaces and to mount.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use kiln_runspec::{NextRung, Rung};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::process::{Pid, WaitOptions};

use crate::syscall::{self, Fork};
use crate::user_namespace;

/// Returns the rung of this process, and what the next better one lacks.
///
/// `effective` are its capabilities.
pub(super) fn probe(effective: u64) -> (Rung, Option<NextRung>) {
    match try_namespaces() {
        Ok(()) => with_namespaces(&read("/proc/self/uid_map")),
        Err(refusal) => {
            let is_root = rustix::process::geteuid().is_root() && !user_namespace::is_entered();
            without_namespaces(effective, is_root, &refusal)
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What was refused to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    action: Action,
    errno: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Namespaces,
    Mount,
    MountProc,
}

const ACTIONS: [Action; 3] = [Action::Namespaces, Action::Mount, Action::MountProc];

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = match self.action {
            Action::Namespaces => "make namespaces",
            Action::Mount => "mount a file system",
            Action::MountProc => "mount /proc of a new process namespace",
        };
        let reason = io::Error::from_raw_os_error(self.errno);
        write!(formatter, "this process may not {action}: {reason}")
    }
}

fn with_namespaces(uid_map: &str) -> (Rung, Option<NextRung>) {
    let numbers: Vec<u64> = uid_map
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    if numbers == [0, 0, u64::from(u32::MAX)] {
        return (Rung::Root, None);
    }
    let ids: u64 = numbers.chunks(3).filter_map(|range| range.get(2)).sum();
    if ids > 1 {
        let next = NextRung {
            rung: Rung::Root,
            missing: "this process is not root of the machine".to_owned(),
            remedy: "run kiln as root; without, no limits and devices of the machine".to_owned(),
        };
        return (Rung::Ranges, Some(next));
    }
    let reason = user_namespace::why_single_id();
    let next = NextRung {
        rung: Rung::Ranges,
        missing: reason.unwrap_or("only one id is mapped").to_owned(),
        remedy: "install the package uidmap, and as root: \
                 `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`"
            .to_owned(),
    };
    (Rung::SingleId, Some(next))
}

/// What a changed root asks for, by number: to read, own and make everything, to become
/// other users, to change the root.
const CHROOT_CAPABILITIES: [(u32, &str); 7] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (18, "CAP_SYS_CHROOT"),
];

fn without_namespaces(
    effective: u64,
    is_root: bool,
    refusal: &Refusal,
) -> (Rung, Option<NextRung>) {
    let lacking: Vec<&str> = CHROOT_CAPABILITIES
        .iter()
        .filter(|(number, _)| effective & (1 << number) == 0)
        .map(|(_, name)| *name)
        .collect();
    if is_root && lacking.is_empty() {
        let next = NextRung {
            rung: Rung::Root,
            missing: refusal.to_string(),
            remedy: "start the container with `--privileged`, or with `--cap-add SYS_ADMIN \
                     --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
                     --security-opt systempaths=unconfined`"
                .to_owned(),
        };
        return (Rung::Chroot, Some(next));
    }
    let missing = match is_root {
        true => format!(
            "{refusal}; and for a changed root it lacks {}",
            lacking.join(", ")
        ),
        false => format!("{refusal}; and it is not root, which could change the root"),
    };
    let next = NextRung {
        rung: Rung::Chroot,
        missing,
        remedy: WITHOUT_A_RUNG.to_owned(),
    };
    (Rung::Impossible, Some(next))
}

/// What helps where steps cannot be run at all.
pub const WITHOUT_A_RUNG: &str = "in a container, run kiln as root (`--user 0`) with the \
     default capabilities, or allow user namespaces (`--security-opt seccomp=unconfined \
     --security-opt systempaths=unconfined`); elsewhere see sysctls `user.max_user_namespaces`, \
     `kernel.unprivileged_userns_clone`, `kernel.apparmor_restrict_unprivileged_userns`";

/// Tries in a child what a sandbox begins with.
fn try_namespaces() -> Result<(), Refusal> {
    let no_child = |error: io::Error| Refusal {
        action: Action::Namespaces,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    };
    let (mut ours, theirs) = UnixStream::pair().map_err(no_child)?;
    // The child makes system calls and nothing else.
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    match syscall::fork_into_namespaces(namespaces).map_err(no_child)? {
        Fork::Child => {
            if let Err(refusal) = try_in_child() {
                tell(&theirs, refusal);
            }
            syscall::exit_now(0)
        }
        Fork::Parent(child) => {
            drop(theirs);
            let mut told = Vec::new();
            let heard = ours.read_to_end(&mut told);
            wait_for(child);
            heard.map_err(no_child)?;
            match told.as_slice() {
                [] => Ok(()),
                [action, errno, ..] => Err(Refusal {
                    action: ACTIONS[usize::from(*action) % ACTIONS.len()],
                    errno: i32::from(*errno),
                }),
                [_] => Err(no_child(io::Error::from_raw_os_error(libc::EIO))),
            }
        }
    }
}

fn tell(mut parent: &UnixStream, refusal: Refusal) {
    let message = [refusal.action as u8, refusal.errno as u8];
    let _ = parent.write_all(&message);
}

fn wait_for(child: Pid) {
    while let Err(rustix::io::Errno::INTR) =
        rustix::process::waitpid(Some(child), WaitOptions::empty())
    {}
}

fn try_in_child() -> Result<(), Refusal> {
    let refused = |action| {
        move |error: io::Error| Refusal {
            action,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    };
    try_mount("tmpfs").map_err(refused(Action::Mount))?;
    // Where parts of /proc are hidden, the kernel lets nobody mount one that shows them.
    try_mount("proc").map_err(refused(Action::MountProc))
}

/// Makes a mount that is attached nowhere.
fn try_mount(kind: &str) -> io::Result<()> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    rustix::mount::fsmount(&context, flags, MountAttrFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: Refusal = Refusal {
        action: Action::Namespaces,
        errno: libc::EPERM,
    };
    /// What Docker gives to containers.
    const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

    #[test]
    fn mapped_ids_tell_the_rungs_with_namespaces_apart() {
        let table = [
            ("0 0 4294967295\n", Rung::Root, None),
            ("0 1000 1\n1 100000 65536\n", Rung::Ranges, Some(Rung::Root)),
            ("0 100000 65536\n", Rung::Ranges, Some(Rung::Root)),
            ("0 1000 1\n", Rung::SingleId, Some(Rung::Ranges)),
        ];
        for (map, rung, next) in table {
            let found = with_namespaces(map);
            assert_eq!(
                (found.0, found.1.map(|next| next.rung)),
                (rung, next),
                "{map}"
            );
        }
    }

    #[test]
    fn root_without_namespaces_changes_the_root_if_it_may() {
        let (rung, next) = without_namespaces(DEFAULT_CAPABILITIES, true, &REFUSAL);
        assert_eq!(rung, Rung::Chroot);
        let next = next.expect("a better rung");
        assert_eq!(
            next.missing,
            "this process may not make namespaces: Operation not permitted (os error 1)"
        );
        let (rung, next) = without_namespaces(DEFAULT_CAPABILITIES & !(1 << 18), true, &REFUSAL);
        assert_eq!(rung, Rung::Impossible);
        let missing = next.expect("a better rung").missing;
        assert!(missing.ends_with("it lacks CAP_SYS_CHROOT"), "{missing}");
        let (rung, next) = without_namespaces(0, false, &REFUSAL);
        assert_eq!(rung, Rung::Impossible);
        let missing = next.expect("a better rung").missing;
        assert!(missing.contains("it is not root"), "{missing}");
    }
}
