//! Sockets that a filter cannot judge: process 1 makes them.
//!
//! 32-bit programs call `socketcall`, whose arguments lie in memory. The filter cannot look
//! there, and what looks there before the kernel does can be deceived by another thread. So the
//! kernel asks here, and what it gets is a socket that was made with arguments read once.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use kiln_runspec::filter::allows_socket_family;

use super::emulate::Answer;
use crate::syscall::{self, Notification};

/// Answers a question about a socket.
pub(super) fn answer(listener: BorrowedFd<'_>, notification: &Notification) -> Answer {
    match make(listener, notification) {
        Ok((descriptor, closes_on_exec)) => Answer::Descriptor {
            descriptor,
            closes_on_exec,
        },
        Err(error) => Answer::Error(error.raw_os_error().unwrap_or(libc::EPERM)),
    }
}

/// What a program asks for.
struct Wanted {
    family: i32,
    kind: i32,
    protocol: i32,
}

fn make(listener: BorrowedFd<'_>, notification: &Notification) -> io::Result<(OwnedFd, bool)> {
    let words = syscall::read_words(notification.pid, notification.arguments[1], notification)?;
    let wanted = Wanted {
        family: words[0] as i32,
        kind: words[1] as i32,
        protocol: words[2] as i32,
    };
    let asker = Asker::of(notification.pid)?;
    // The number of a process that ended may be another's by now.
    syscall::is_still_waiting(listener, notification)?;
    check(&wanted, &asker)?;
    let socket = syscall::make_socket(wanted.family, wanted.kind, wanted.protocol)?;
    let owner = rustix::fs::Uid::from_raw(asker.uid);
    rustix::fs::fchown(&socket, Some(owner), None)?;
    Ok((socket, wanted.kind & libc::SOCK_CLOEXEC != 0))
}

/// Process 1 may make any socket: it must not do so for one who may not.
fn check(wanted: &Wanted, asker: &Asker) -> io::Result<()> {
    let refused = |errno| Err(io::Error::from_raw_os_error(errno));
    if !u64::try_from(wanted.family).is_ok_and(allows_socket_family) {
        return refused(libc::EPERM);
    }
    const KIND: i32 = 0xf;
    let is_raw = wanted.kind & KIND == libc::SOCK_RAW;
    match wanted.family {
        libc::AF_UNIX | libc::AF_NETLINK => Ok(()),
        libc::AF_INET | libc::AF_INET6 if !is_raw || asker.may_make_raw_sockets => Ok(()),
        libc::AF_PACKET if asker.may_make_raw_sockets => Ok(()),
        libc::AF_INET | libc::AF_INET6 | libc::AF_PACKET => refused(libc::EPERM),
        _ => refused(libc::EAFNOSUPPORT),
    }
}

/// Who asks.
struct Asker {
    uid: u32,
    may_make_raw_sockets: bool,
}

impl Asker {
    fn of(pid: u32) -> io::Result<Self> {
        const NET_RAW: u64 = 1 << 13;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = |name: &str| {
            let lines = status.lines().filter_map(|line| line.split_once(':'));
            let mut values = lines.filter(|(key, _)| *key == name);
            let (_, value) = values.next()?;
            Some(value.split_whitespace().collect::<Vec<&str>>())
        };
        // Real, effective, saved, and that for files.
        let uid = value("Uid").and_then(|ids| ids.get(1)?.parse().ok());
        let effective = value("CapEff").and_then(|set| u64::from_str_radix(set.first()?, 16).ok());
        match (uid, effective) {
            (Some(uid), Some(effective)) => Ok(Asker {
                uid,
                may_make_raw_sockets: effective & NET_RAW != 0,
            }),
            _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}
