//! What process 1 waits for: children that end, and questions of their filter.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::emulate::Watcher;
use super::process::wait_for_any;
use crate::syscall;

/// Waits, and answers meanwhile.
pub(super) struct Waiting {
    asking: Option<Asking>,
    /// Where the filter asks, once it is known.
    listener: Option<OwnedFd>,
}

/// What it takes to be asked.
pub(super) struct Asking {
    /// Tells that a child ended.
    pub children: OwnedFd,
    /// Where the command's filter is handed over.
    pub questions: UnixStream,
    pub watcher: Watcher,
}

impl Waiting {
    /// Returns one that is asked nothing where that cannot be.
    pub fn new(asking: Option<Asking>) -> Self {
        Waiting {
            asking,
            listener: None,
        }
    }

    /// Waits for the filter; where older kernels ask nobody, the other side closes instead.
    pub fn begin_answering(&mut self) {
        let received = self.asking.as_ref().and_then(|asking| {
            let received = syscall::receive_descriptor(&asking.questions);
            received.ok().flatten()
        });
        self.listener = received;
        match &self.listener {
            Some(listener) => {
                syscall::expect_quick_answers(listener.as_fd());
                // Files that are made for others have the modes that those ask for.
                rustix::process::umask(rustix::fs::Mode::empty());
            }
            None => self.asking = None,
        }
    }

    /// Reads a socket up to its end.
    pub fn read_to_end(&mut self, socket: &mut UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        let Some(asking) = &mut self.asking else {
            let _ = socket.read_to_end(&mut all);
            return all;
        };
        loop {
            answer_until_readable(socket.as_fd(), &mut self.listener, &mut asking.watcher);
            let mut piece = [0; 512];
            match socket.read(&mut piece) {
                Ok(0) | Err(_) => return all,
                Ok(count) => all.extend(&piece[..count]),
            }
        }
    }

    /// Returns a child that ended; nothing when there is none.
    pub fn child(&mut self) -> Option<(Pid, WaitStatus)> {
        let Some(asking) = &mut self.asking else {
            return wait_for_any();
        };
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(found)) => return Some(found),
                Err(rustix::io::Errno::CHILD) => return None,
                _ => {}
            }
            let children = asking.children.as_fd();
            answer_until_readable(children, &mut self.listener, &mut asking.watcher);
            syscall::forget_signals(&asking.children);
        }
    }
}

/// Answers what is asked until something can be read elsewhere.
fn answer_until_readable(
    elsewhere: BorrowedFd<'_>,
    listener: &mut Option<OwnedFd>,
    watcher: &mut Watcher,
) {
    loop {
        let mut waits = vec![PollFd::from_borrowed_fd(elsewhere, PollFlags::IN)];
        waits.extend(listener.iter().map(|one| PollFd::new(one, PollFlags::IN)));
        let _ = poll(&mut waits, None);
        let is_readable = !waits[0].revents().is_empty();
        let asked = waits.get(1).map_or(PollFlags::empty(), PollFd::revents);
        match listener {
            Some(listener) if asked.contains(PollFlags::IN) => {
                watcher.answer_next(listener.as_fd())
            }
            // Nobody is left who could ask.
            _ if !asked.is_empty() => *listener = None,
            _ => {}
        }
        if is_readable {
            return;
        }
    }
}
