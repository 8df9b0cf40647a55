//! Joins what is left of finished runs, off the path of those who wait for results.

use std::io;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use super::groups::RunGroups;

/// A thread that waits for first processes and removes control groups after them.
#[derive(Debug)]
pub(super) struct Reaper {
    queue: Option<Sender<Rest>>,
    thread: Option<JoinHandle<()>>,
}

/// What is left of a run.
type Rest = (Child, UnixStream, RunGroups);

impl Reaper {
    pub(super) fn start() -> io::Result<Self> {
        let (queue, rests) = mpsc::channel::<Rest>();
        let thread = std::thread::Builder::new()
            .name("sandbox-reaper".to_owned())
            .spawn(move || rests.into_iter().for_each(finish))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) fn take(&self, child: Child, control: UnixStream, groups: RunGroups) {
        let Some(queue) = &self.queue else { return };
        if let Err(refused) = queue.send((child, control, groups)) {
            finish(refused.0);
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn finish((mut child, control, groups): Rest) {
    // With the socket gone the watcher kills whatever is still there.
    drop(control);
    let _ = child.wait();
    groups.remove();
}
