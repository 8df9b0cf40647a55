//! The history of a stage, which shares what it inherits with the stage it starts from.

use kiln_oci::HistoryEntry;
use std::rc::Rc;

/// History entries: those inherited, then its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    own: Rc<Vec<HistoryEntry>>,
    inherited: Option<Rc<Entries>>,
}

impl Entries {
    pub(super) fn push(&mut self, entry: HistoryEntry) {
        Rc::make_mut(&mut self.own).push(entry);
    }

    /// Returns the entries of a stage that starts from this one.
    pub(super) fn next_stage(&self) -> Self {
        Entries {
            own: Rc::default(),
            inherited: Some(Rc::new(self.clone())),
        }
    }

    /// Returns all entries, the oldest first.
    pub(super) fn to_vec(&self) -> Vec<HistoryEntry> {
        let mut parts = Vec::new();
        let mut next = Some(self);
        while let Some(entries) = next {
            parts.push(&entries.own);
            next = entries.inherited.as_deref();
        }
        let oldest_first = parts.into_iter().rev();
        oldest_first.flat_map(|own| own.iter().cloned()).collect()
    }
}

impl Drop for Entries {
    /// Drops a long line of stages one by one: each would drop the one before it, and need
    /// more of the stack than there is.
    fn drop(&mut self) {
        let mut next = self.inherited.take();
        while let Some(mut entries) = next.and_then(Rc::into_inner) {
            next = entries.inherited.take();
        }
    }
}
