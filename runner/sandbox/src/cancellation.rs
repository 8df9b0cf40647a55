//! A wish to stop, which wakes those who wait in the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A wish to stop; clones share it. Once made, it stays.
#[derive(Clone, Debug)]
pub struct Cancellation {
    event: Arc<OwnedFd>,
}

impl Cancellation {
    /// Returns a wish not yet made. Errors: no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            event: Arc::new(eventfd(0, flags)?),
        })
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        // Only a full counter refuses the write, and then the wish is known already.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
    }

    /// Returns whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        let mut waits = [PollFd::new(&*self.event, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut waits, Some(&now)), Ok(1))
    }
}

impl AsFd for Cancellation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
