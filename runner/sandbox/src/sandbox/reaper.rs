//! What is done beside runs: joining what is left of them, starting the server of the first.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use super::groups::RunGroups;
use super::starter::{Started, Starter};

/// A thread that works off the path of those who wait for results.
#[derive(Debug)]
pub(super) struct Reaper {
    queue: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// Something to do.
enum Work {
    /// A run is about to be prepared: it shall find a server.
    StartServer,
    /// A run is over.
    Finish(Started, RunGroups),
}

impl Reaper {
    pub(super) fn start(starter: Arc<Starter>) -> io::Result<Self> {
        let (queue, works) = mpsc::channel::<Work>();
        let thread = std::thread::Builder::new()
            .name("sandbox-reaper".to_owned())
            .spawn(move || works.into_iter().for_each(|work| carry_out(work, &starter)))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) fn start_server(&self) {
        self.send(Work::StartServer);
    }

    pub(super) fn finish(&self, started: Started, groups: RunGroups) {
        self.send(Work::Finish(started, groups));
    }

    fn send(&self, work: Work) {
        let Some(queue) = &self.queue else { return };
        if let Err(mpsc::SendError(Work::Finish(started, groups))) = queue.send(work) {
            finish(started, &groups);
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

fn carry_out(work: Work, starter: &Starter) {
    match work {
        Work::StartServer => starter.start_server(),
        Work::Finish(started, groups) => finish(started, &groups),
    }
}

fn finish(started: Started, groups: &RunGroups) {
    started.end();
    groups.remove();
}
