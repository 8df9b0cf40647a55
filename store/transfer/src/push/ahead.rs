//! Layers that go to a registry before their image is complete.
//!
//! A build knows of a layer that the image will have it long before there is an image. Its blob is
//! sent while it is compressed and while later steps run; the push of the image then waits for
//! those that are on their way. What could not be sent is sent by the push, which tells why if
//! that fails again.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kiln_oci::{Digest, Reference};
use kiln_registry::{Client, GrowingBlob, Growth, Pushed};

use super::PARALLEL_UPLOADS;
use crate::growing::GrowingLayer;

/// Uploads to one repository, ahead of the images that are made of them.
pub struct Ahead<'a> {
    client: &'a Client,
    target: Reference,
    /// Whether the images are not wanted any more.
    is_stopped: Box<dyn Fn() -> bool + Send + Sync + 'a>,
    uploads: Mutex<Vec<Upload>>,
    changed: Condvar,
}

struct Upload {
    layer: GrowingLayer,
    stage: Stage,
}

/// Uploads that fail are forgotten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Done(Pushed),
}

impl<'a> Ahead<'a> {
    /// Returns one for the repository of `target`. Once `is_stopped` says so nothing more is
    /// sent.
    pub fn new(
        client: &'a Client,
        target: Reference,
        is_stopped: impl Fn() -> bool + Send + Sync + 'a,
    ) -> Self {
        Self {
            client,
            target,
            is_stopped: Box::new(is_stopped),
            uploads: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Whether it sends to the repository of `target`.
    pub fn goes_to(&self, target: &Reference) -> bool {
        self.target.registry() == target.registry()
            && self.target.repository() == target.repository()
    }

    /// Notes that `layer` is to be sent: [`Ahead::send`] does it. A push waits for it from now
    /// on, if it finds the upload begun.
    pub fn offer(&self, layer: &GrowingLayer) {
        self.lock().push(Upload {
            layer: layer.clone(),
            stage: Stage::Waiting,
        });
    }

    /// Sends `layer`, a few at once; on a thread of its own. Ends early once it is not wanted any
    /// more, or sent by a push.
    pub fn send(&self, layer: &GrowingLayer) {
        if !self.begin(layer) {
            return;
        }
        let wanted = Wanted {
            layer,
            is_stopped: &*self.is_stopped,
        };
        let pushed = self.client.push_growing(&self.target, &wanted);
        let mut uploads = self.lock();
        match pushed {
            Ok((_, outcome)) => set(&mut uploads, layer, Stage::Done(outcome)),
            Err(_) => uploads.retain(|upload| upload.layer != *layer),
        }
        self.changed.notify_all();
    }

    /// Waits until fewer than the most are sent; false if `layer` is none to be sent any more.
    fn begin(&self, layer: &GrowingLayer) -> bool {
        let mut uploads = self.lock();
        loop {
            let is_waiting = uploads.iter().any(|upload| upload.layer == *layer);
            if !is_waiting || (self.is_stopped)() {
                return false;
            }
            let running = uploads.iter().filter(|one| one.stage == Stage::Running);
            if running.count() < PARALLEL_UPLOADS {
                set(&mut uploads, layer, Stage::Running);
                return true;
            }
            uploads = self.wait(uploads);
        }
    }

    /// Returns how the blob `digest` came to be there, after having waited for it if it is on its
    /// way. `None` if it has to be sent: nobody does so then but who asks.
    pub(super) fn outcome(&self, digest: &Digest) -> Option<Pushed> {
        let mut uploads = self.lock();
        loop {
            let place = uploads.iter().position(|upload| upload.layer.is(digest))?;
            match uploads[place].stage {
                Stage::Done(outcome) => return Some(outcome),
                Stage::Running => uploads = self.wait(uploads),
                Stage::Waiting => {
                    uploads.remove(place);
                    self.changed.notify_all();
                    return None;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'b>(&self, uploads: MutexGuard<'b, Vec<Upload>>) -> MutexGuard<'b, Vec<Upload>> {
        let woken = self.changed.wait(uploads);
        woken.unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(uploads: &mut [Upload], layer: &GrowingLayer, stage: Stage) {
    let found = uploads.iter_mut().find(|upload| upload.layer == *layer);
    if let Some(upload) = found {
        upload.stage = stage;
    }
}

/// A layer as long as somebody wants it.
struct Wanted<'a> {
    layer: &'a GrowingLayer,
    is_stopped: &'a (dyn Fn() -> bool + Send + Sync),
}

impl GrowingBlob for Wanted<'_> {
    fn growth(&self) -> io::Result<Growth> {
        self.check()?;
        self.layer.growth()
    }

    fn check(&self) -> io::Result<()> {
        match (self.is_stopped)() {
            true => Err(io::Error::other("the image is not wanted any more")),
            false => self.layer.check(),
        }
    }

    fn open(&self, position: u64) -> io::Result<Box<dyn Read + Send>> {
        self.layer.open(position)
    }
}
