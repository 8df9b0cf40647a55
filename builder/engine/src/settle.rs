//! Makes results durable and records them, beside the build.
//!
//! A step must not wait for the disk: its layer is handed over here, and a thread computes
//! what is to be known of it, syncs once for all that came meanwhile, and only then writes
//! the records. A build ends by waiting for that thread; one that is killed loses at most
//! what had not been recorded.

use crate::explain::Listing;
use kiln_disk::{KeyLock, Recipe, Record, Store};
use kiln_layer::copy::SelectedFile;
use kiln_oci::Digest;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long results are gathered after a sync before the next one: short steps would have one
/// each, which takes longer than they do and holds up whatever else writes.
const GATHERING: Duration = Duration::from_millis(100);

/// Takes results and records them.
pub(crate) struct Settler<'store> {
    store: &'store Store,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Entry>,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Nothing more comes.
    Closed,
    /// The store failed: nothing more is recorded.
    Failed,
}

/// A result to be recorded.
pub(crate) struct Entry {
    /// The keys that lead to it.
    pub keys: Vec<Digest>,
    /// What is recorded.
    pub record: Record,
    /// What its key is made of, when it is new.
    pub note: Option<Note>,
    /// Released once the record is there.
    pub _lock: Option<KeyLock>,
}

/// What a key was made of, for those who ask later why a step ran.
pub(crate) struct Note {
    pub recipe: Recipe,
    /// The files that were read, by the digest of each selection.
    pub listings: Vec<(Digest, Vec<SelectedFile>)>,
}

impl Note {
    /// Keeps it in the store. Without it only an explanation is missing later.
    pub fn keep(&self, store: &Store, key: &Digest) {
        let _ = store.recipes().put(key, &self.recipe);
        for (digest, files) in &self.listings {
            if !store.recipes().has_listing(digest)
                && let Some(bytes) = Listing::of(files).encode()
            {
                let _ = store.recipes().put_listing(digest, &bytes);
            }
        }
    }
}

impl<'store> Settler<'store> {
    /// Returns a settler for `store`; [`Settler::run`] must run on a thread of its own.
    pub fn new(store: &'store Store) -> Self {
        Settler {
            store,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Records `entry`, soon, and releases its lock then.
    pub fn remember(&self, entry: Entry) {
        let mut state = self.lock();
        if state.phase != Phase::Failed {
            state.waiting.push(entry);
            self.changed.notify_one();
        }
    }

    /// Ends [`Settler::run`] once all that was handed over is recorded.
    pub fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closed;
        }
        self.changed.notify_one();
    }

    /// Records what is handed over until [`Settler::close`].
    pub fn run(&self) -> Result<(), kiln_disk::Error> {
        let mut earliest = Instant::now();
        loop {
            let (entries, closed) = self.take(earliest);
            if entries.is_empty() && closed {
                return Ok(());
            }
            if let Err(error) = self.settle(&entries) {
                self.fail();
                return Err(error);
            }
            earliest = Instant::now() + GATHERING;
        }
    }

    /// Lets go of all locks: nobody must wait for records that never come.
    fn fail(&self) {
        let mut state = self.lock();
        state.phase = Phase::Failed;
        state.waiting.clear();
    }

    /// Returns what waits, at `earliest` unless nothing more comes; waits until there is any.
    fn take(&self, earliest: Instant) -> (Vec<Entry>, bool) {
        let mut state = self.lock();
        while state.waiting.is_empty() && state.phase == Phase::Open {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let rest = earliest.saturating_duration_since(Instant::now());
        let gathered = self
            .changed
            .wait_timeout_while(state, rest, |state| state.phase == Phase::Open);
        let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        (
            std::mem::take(&mut state.waiting),
            state.phase != Phase::Open,
        )
    }

    /// The content first, then what names it.
    pub fn settle(&self, entries: &[Entry]) -> Result<(), kiln_disk::Error> {
        self.store.sync()?;
        for entry in entries {
            for key in &entry.keys {
                self.store.records().put(key, &entry.record)?;
            }
        }
        for entry in entries {
            if let Some(note) = &entry.note {
                note.keep(self.store, &entry.record.canonical_key);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
