//! One process that forks the first process of each run.
//!
//! Loading the program and entering a control group take longer than all the rest of a set-up,
//! and do not depend on what is run: they are done once, and what is forked has them done. This
//! process has one thread and next to no memory, so that a fork of it is cheap and safe.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use crate::syscall::{self, Fork};

/// A first process that was forked and not yet waited for.
struct Forked {
    process: Pid,
    handle: OwnedFd,
}

/// Forks a process for each request that comes, and waits for those that end. Returns in such a
/// process, with what it is to listen to; otherwise ends when the caller is gone.
///
/// A request is three descriptors: the socket of the run, its output, its errors. The answer is
/// a handle of the process, or none when there could be no further one.
pub(super) fn serve(requests: UnixStream) -> UnixStream {
    let mut running: Vec<Forked> = Vec::new();
    loop {
        let has_request = wait(&requests, &running);
        running.retain(|forked| !has_ended(forked));
        if !has_request {
            continue;
        }
        let Ok(Some(run)) = syscall::receive_descriptors(&requests) else {
            // The caller is gone, and with its sockets all that runs.
            syscall::exit_now(0)
        };
        match syscall::fork() {
            Ok(Fork::Child) => {
                drop((requests, running));
                return begin(run);
            }
            Ok(Fork::Parent(process)) => match answer(&requests, process) {
                Some(handle) => running.push(Forked { process, handle }),
                None => syscall::exit_now(125),
            },
            Err(_) => refuse(&requests),
        }
    }
}

/// Waits for a request, or until one of the processes ends; returns whether there is a request.
fn wait(requests: &UnixStream, running: &[Forked]) -> bool {
    let mut waits = vec![PollFd::new(requests, PollFlags::IN)];
    let handles = running.iter().map(|forked| &forked.handle);
    waits.extend(handles.map(|handle| PollFd::new(handle, PollFlags::IN)));
    let _ = poll(&mut waits, None);
    !waits[0].revents().is_empty()
}

/// Takes the end of a process, whose processor time is this process's from then on.
fn has_ended(forked: &Forked) -> bool {
    let ended = rustix::process::waitpid(Some(forked.process), WaitOptions::NOHANG);
    !matches!(ended, Ok(None) | Err(rustix::io::Errno::INTR))
}

fn answer(requests: &UnixStream, process: Pid) -> Option<OwnedFd> {
    let handle = rustix::process::pidfd_open(process, PidfdFlags::empty()).ok()?;
    syscall::send_descriptor(requests, handle.as_fd()).ok()?;
    Some(handle)
}

/// Answers without a handle.
fn refuse(requests: &UnixStream) {
    let _ = rustix::io::write(requests, b"x");
}

/// Takes the outputs of a run, and a process group that no terminal's interrupt reaches.
fn begin([control, stdout, stderr]: [OwnedFd; 3]) -> UnixStream {
    let taken = rustix::stdio::dup2_stdout(&stdout)
        .and_then(|()| rustix::stdio::dup2_stderr(&stderr))
        .and_then(|()| rustix::process::setpgid(None, None))
        .and_then(|()| {
            let signal = rustix::process::Signal::KILL;
            rustix::process::set_parent_process_death_signal(Some(signal))
        })
        // The first number that is free: what lies at a low one must be nothing to walk through.
        .and_then(|()| rustix::io::fcntl_dupfd_cloexec(&control, 3));
    match taken {
        Ok(control) => UnixStream::from(control),
        Err(_) => syscall::exit_now(125),
    }
}
