//! Network namespaces, and doing something inside of one.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::init::procfs;
use crate::syscall;

/// A network namespace; it exists while somebody holds it.
#[derive(Debug)]
pub(super) struct Namespace(OwnedFd);

impl Namespace {
    /// Makes one that has a loopback interface and nothing else.
    pub(super) fn make() -> io::Result<Self> {
        on_a_thread(|| {
            syscall::unshare(libc::CLONE_NEWNET)?;
            syscall::bring_loopback_up()?;
            procfs::open_network();
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let opened = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?;
            Ok(Namespace(opened))
        })
    }

    /// Does `work` in this network.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        on_a_thread(|| {
            syscall::enter_namespace(self.0.as_raw_fd(), libc::CLONE_NEWNET)?;
            work()
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A network is a thread's: one that ends takes the change along.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("network".to_owned())
            .spawn_scoped(scope, work)?;
        let panicked = |_| io::Error::other("the thread of a network panicked");
        thread.join().map_err(panicked)?
    })
}
