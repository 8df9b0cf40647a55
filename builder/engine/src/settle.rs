//! Makes results durable and records them, beside the build.
//!
//! A step must not wait for the disk: its layer is handed over here, and a thread computes
//! what is to be known of it, syncs once for all that came meanwhile, and only then writes
//! the records. A build ends by waiting for that thread; one that is killed loses at most
//! what had not been recorded.

use kiln_disk::{LayerId, Record, Store};
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
    closed: bool,
}

struct Entry {
    keys: [CacheKey; 2],
    record: Record,
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

    /// Records that `keys` result in `stack`, soon.
    pub fn remember(&self, keys: &Keys, stack: &[LayerId], description: &str) {
        let record = Record {
            result: stack.to_vec(),
            canonical_key: keys.content.digest().clone(),
            created_seconds: jiff::Timestamp::now().as_second(),
            description: description.to_owned(),
        };
        let keys = [keys.definition.clone(), keys.content.clone()];
        self.lock().waiting.push(Entry { keys, record });
        self.changed.notify_one();
    }

    /// Ends [`Settler::run`] once all that was handed over is recorded.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Records what is handed over until [`Settler::close`].
    pub fn run(&self) -> Result<(), kiln_disk::Error> {
        loop {
            let (entries, closed) = self.take();
            if !entries.is_empty() {
                self.settle(&entries)?;
            } else if closed {
                return Ok(());
            }
        }
    }

    fn take(&self) -> (Vec<Entry>, bool) {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.closed {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (std::mem::take(&mut state.waiting), state.closed)
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
