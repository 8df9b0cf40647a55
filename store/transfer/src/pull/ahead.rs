//! Layers unpacked before their turn, beside those below them.
//!
//! Most layers list every directory that they write to: what lies below does not matter for
//! the directory that they become. The others are unpacked when their turn comes.

use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kiln_disk::Store;
use kiln_oci::LayerEncoding;

use super::arrival::{Arrival, Follower};
use crate::arrival::{Lowers, UnpackedArchive, unpack_archive};

const MOST_THREADS: usize = 4;

/// Returns how many threads unpack ahead: each has another one that decompresses.
pub(super) fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).clamp(2, MOST_THREADS) - 1
}

/// A layer that may be unpacked ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum Slot {
    /// Nobody has begun.
    #[default]
    Waiting,
    /// Somebody unpacks it.
    Running,
    /// It is unpacked, unless that was not possible.
    Ready(Option<UnpackedArchive>),
    /// Its turn has come.
    Taken,
}

impl Ahead {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what came of unpacking it ahead, waiting for who does it; nothing if nobody has
    /// begun, and nobody does from now on.
    pub fn take(&self) -> Option<UnpackedArchive> {
        let mut slot = self.slot();
        loop {
            match std::mem::replace(&mut *slot, Slot::Taken) {
                Slot::Waiting | Slot::Taken => return None,
                Slot::Ready(unpacked) => return unpacked,
                Slot::Running => *slot = Slot::Running,
            }
            let woken = self.changed.wait(slot);
            slot = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Unpacks it, unless somebody has begun; calls `on_begin` before.
    pub fn unpack(
        &self,
        store: &Store,
        arrival: &Arrival,
        encoding: LayerEncoding,
        stopped: &AtomicBool,
        on_begin: impl FnOnce(),
    ) {
        match &mut *self.slot() {
            slot @ Slot::Waiting => *slot = Slot::Running,
            _ => return,
        }
        on_begin();
        let input = Stoppable {
            input: Follower::new(arrival),
            stopped,
        };
        let unpacked = unpack_archive(store, Lowers::Unknown, input, encoding);
        // Whatever is the matter is told by those who unpack it in its turn.
        let unpacked = unpacked.ok().filter(|unpacked| unpacked.applied.is_ok());
        *self.slot() = Slot::Ready(unpacked);
        self.changed.notify_all();
    }
}

/// Ends when nobody wants the rest any more.
struct Stoppable<'a> {
    input: Follower<'a>,
    stopped: &'a AtomicBool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(io::Error::other("nobody wants it any more")),
            false => self.input.read(buffer),
        }
    }
}
