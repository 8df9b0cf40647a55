//! Work without being root: this process becomes root of a namespace of its own.

mod ranges;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, WaitOptions};
use thiserror::Error;

use crate::syscall::{self, Fork};
use ranges::Ranges;

/// What became of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It was root already.
    AlreadyRoot,
    /// It is root of a new user namespace with a range of ids.
    WithRange {
        /// How many user ids exist, root among them.
        count: u64,
    },
    /// It is root of a new user namespace in which only one id exists: files of other
    /// owners cannot be made.
    SingleId {
        /// Why there is no range.
        reason: String,
    },
}

/// Why the namespace could not be entered.
#[derive(Debug, Error)]
#[error("cannot {action}")]
pub struct EnterError {
    /// What was tried.
    pub action: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Becomes root of a new user and mount namespace unless this process is root.
///
/// Must be called while this process has one thread; afterwards its user is 0, and files
/// of its former user belong to 0. Errors: the kernel or its configuration forbids it.
pub fn enter_if_unprivileged() -> Result<Entered, EnterError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Entered::AlreadyRoot);
    }
    let identity = Identity {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let entered = match ranges::of(identity.uid) {
        Ok(ranges) => enter_with_range(identity, ranges)?,
        Err(reason) => enter_with_one(identity, reason)?,
    };
    settle()?;
    let _ = ENTERED.set(entered.clone());
    Ok(entered)
}

/// What became of this process, once it entered a namespace.
static ENTERED: OnceLock<Entered> = OnceLock::new();

/// Returns whether this process made itself root.
pub(crate) fn is_entered() -> bool {
    ENTERED.get().is_some()
}

/// Returns why this process' namespace has one id only.
pub(crate) fn why_single_id() -> Option<&'static str> {
    match ENTERED.get() {
        Some(Entered::SingleId { reason }) => Some(reason),
        _ => None,
    }
}

/// Who this process was.
#[derive(Clone, Copy)]
struct Identity {
    uid: u32,
    gid: u32,
}

/// The programs that map ranges work from outside the new namespace, so a child is left
/// behind there before.
fn enter_with_range(identity: Identity, ranges: Ranges) -> Result<Entered, EnterError> {
    let (mut ours, theirs) = UnixStream::pair().map_err(failed("make a socket"))?;
    let parent = rustix::process::getpid();
    let child = match syscall::fork().map_err(failed("fork a helper"))? {
        Fork::Parent(child) => child,
        Fork::Child => {
            drop(ours);
            let code = map_parent(theirs, parent, identity, &ranges);
            syscall::exit_now(code)
        }
    };
    drop(theirs);
    unshare()?;
    ours.write_all(b"x").map_err(failed("tell the helper"))?;
    let mapped = wait_for(child);
    if mapped {
        return Ok(Entered::WithRange {
            count: 1 + u64::from(ranges.users.count),
        });
    }
    let reason = "newuidmap or newgidmap refused the ranges of /etc/subuid and /etc/subgid";
    map_one(identity)?;
    Ok(Entered::SingleId {
        reason: reason.to_owned(),
    })
}

fn enter_with_one(identity: Identity, reason: String) -> Result<Entered, EnterError> {
    unshare()?;
    map_one(identity)?;
    Ok(Entered::SingleId { reason })
}

fn unshare() -> Result<(), EnterError> {
    syscall::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
        .map_err(failed("make a user namespace"))
}

/// Runs in the child: waits for the namespace, then maps users and groups.
fn map_parent(mut start: UnixStream, parent: Pid, identity: Identity, ranges: &Ranges) -> i32 {
    if start.read_exact(&mut [0]).is_err() {
        return 1;
    }
    let pid = parent.as_raw_nonzero().to_string();
    let run = |program: &str, own: u32, range: ranges::Range| {
        let numbers = [0, own, 1, 1, range.start, range.count].map(|number| number.to_string());
        let status = Command::new(program)
            .arg(&pid)
            .args(numbers)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let users = run("newuidmap", identity.uid, ranges.users);
    let groups = users && run("newgidmap", identity.gid, ranges.groups);
    i32::from(!groups)
}

fn wait_for(child: Pid) -> bool {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return status.exit_status() == Some(0),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn map_one(identity: Identity) -> Result<(), EnterError> {
    // The kernel asks for this first: else groups that deny could be left.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {} 1", identity.uid))?;
    write("/proc/self/gid_map", &format!("0 {} 1", identity.gid))
}

fn write(path: &str, text: &str) -> Result<(), EnterError> {
    fs::write(path, text).map_err(failed(format!("write `{text}` to {path}")))
}

/// Becomes root inside, and keeps mounts made here from the host.
fn settle() -> Result<(), EnterError> {
    // Refused where only one id exists.
    let _ = syscall::set_groups(&[0]);
    syscall::set_gid(0).map_err(failed("become group 0"))?;
    syscall::set_uid(0).map_err(failed("become user 0"))?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).map_err(|error| failed("isolate mounts")(error.into()))
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> EnterError {
    let action = action.into();
    move |source| EnterError { action, source }
}
