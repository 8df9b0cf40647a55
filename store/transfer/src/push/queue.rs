//! Blobs that are ready to be pushed, for those who push them.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kiln_oci::{Descriptor, DiffId, Digest};

use crate::error::Error;
use crate::growing::GrowingLayer;

/// What is to be pushed.
pub(super) enum Part {
    Blob(Box<Blob>),
    Growing(GrowingLayer),
}

/// A blob to be pushed.
pub(super) struct Blob {
    pub descriptor: Descriptor,
    pub content: Content,
}

pub(super) enum Content {
    Bytes(Vec<u8>),
    Layer(DiffId),
}

/// Blobs that are ready, each once, for those who push them.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    parts: VecDeque<Part>,
    known: HashSet<Digest>,
    is_complete: bool,
    failure: Option<Error>,
}

impl Queue {
    /// Returns the first failure, if there was one.
    pub fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, descriptor: &Descriptor, content: Content) {
        let mut state = self.lock();
        if state.known.insert(descriptor.digest.clone()) {
            let descriptor = descriptor.clone();
            let blob = Blob {
                descriptor,
                content,
            };
            state.parts.push_back(Part::Blob(Box::new(blob)));
            self.changed.notify_one();
        }
    }

    pub fn add_growing(&self, layer: GrowingLayer) {
        self.lock().parts.push_back(Part::Growing(layer));
        self.changed.notify_one();
    }

    /// Says that nothing more is added.
    pub fn complete(&self) {
        self.lock().is_complete = true;
        self.changed.notify_all();
    }

    /// Keeps further blobs from being begun; the first failure counts.
    pub fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    pub fn has_failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Waits for a blob; nothing at the end and after a failure.
    pub fn next(&self) -> Option<Part> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(part) = state.parts.pop_front() {
                return Some(part);
            }
            if state.is_complete {
                return None;
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}
