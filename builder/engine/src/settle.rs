//! Makes results durable and records them, beside the build.
//!
//! A step must not wait for the disk: its layer is handed over here, and a thread computes
//! what is to be known of it, syncs once for all that came meanwhile, and only then writes
//! the records. A build ends by waiting for that thread; one that is killed loses at most
//! what had not been recorded.

use kiln_disk::{KeyLock, LayerId, Record, Store};
use kiln_plan::CacheKey;
use kiln_solver::Keys;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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

struct Entry {
    keys: [CacheKey; 2],
    record: Record,
    /// Released once the record is there.
    _lock: Option<KeyLock>,
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

    /// Records that `keys` result in `stack`, soon, and releases `lock` then.
    pub fn remember(
        &self,
        keys: &Keys,
        stack: &[LayerId],
        description: &str,
        lock: Option<KeyLock>,
    ) {
        let record = Record {
            result: stack.to_vec(),
            canonical_key: keys.content.digest().clone(),
            created_seconds: jiff::Timestamp::now().as_second(),
            description: description.to_owned(),
        };
        let keys = [keys.definition.clone(), keys.content.clone()];
        let entry = Entry {
            keys,
            record,
            _lock: lock,
        };
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
        loop {
            let (entries, closed) = self.take();
            if entries.is_empty() && closed {
                return Ok(());
            }
            if let Err(error) = self.settle(&entries) {
                self.fail();
                return Err(error);
            }
        }
    }

    /// Lets go of all locks: nobody must wait for records that never come.
    fn fail(&self) {
        let mut state = self.lock();
        state.phase = Phase::Failed;
        state.waiting.clear();
    }

    fn take(&self) -> (Vec<Entry>, bool) {
        let mut state = self.lock();
        while state.waiting.is_empty() && state.phase == Phase::Open {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (
            std::mem::take(&mut state.waiting),
            state.phase != Phase::Open,
        )
    }

    /// The content first, then what names it.
    fn settle(&self, entries: &[Entry]) -> Result<(), kiln_disk::Error> {
        self.store.sync()?;
        for entry in entries {
            let [definition, content] = &entry.keys;
            self.store.records().put(content.digest(), &entry.record)?;
            if definition != content {
                self.store
                    .records()
                    .put(definition.digest(), &entry.record)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
