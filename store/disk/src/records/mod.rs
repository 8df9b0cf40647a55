//! Cache records: what a step with a given key resulted in.
//!
//! A record may be lost but is never wrong: it is written after its layers are on disk, a
//! damaged one counts as none, and so does one whose layers are gone.

mod recipe;

use std::path::PathBuf;

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

pub use recipe::{Fact, InputContent, Recipe, RecipeInput, Recipes};

use crate::error::{Error, Result};
use crate::{LayerId, Store, durable, lease, session, store};

/// What a step resulted in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The stack of layers, bottom first.
    pub result: Vec<LayerId>,
    /// The content key under which the result was first recorded: its identity for others.
    pub canonical_key: Digest,
    /// When the step ran, in seconds since 1970.
    pub created_seconds: i64,
    /// What ran, for people.
    #[serde(default)]
    pub description: String,
    /// The build that ran it; empty when nobody knows.
    #[serde(default)]
    pub build_id: String,
}

/// The cache records of a store.
#[derive(Debug, Clone, Copy)]
pub struct Records<'store> {
    store: &'store Store,
}

impl<'store> Records<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Returns the record under `key`, used now, if all its layers are there; leases them.
    ///
    /// A damaged one counts as none, with a warning ([`Store::take_warnings`]).
    pub fn get(&self, key: &Digest) -> Result<Option<Record>> {
        let path = self.path(key);
        let record = match durable::read_lazy_json::<Record>(&path) {
            Err(error @ (Error::Malformed { .. } | Error::Damaged(_))) => {
                self.store.warn(format!("{error}; its step runs again"));
                return Ok(None);
            }
            other => other?,
        };
        let Some(record) = record else {
            return Ok(None);
        };
        for layer in &record.result {
            if !self.store.layers().lease(layer)? {
                return Ok(None);
            }
        }
        lease::touch_path(&path);
        Ok(Some(record))
    }

    /// Returns whether there is a record of `key` that is not as it was written.
    pub fn is_damaged(&self, key: &Digest) -> bool {
        durable::read_lazy_json::<Record>(&self.path(key)).is_err()
    }

    /// Writes the record of `key`. Its layers are on disk: call [`Store::sync`] before.
    pub fn put(&self, key: &Digest, record: &Record) -> Result<()> {
        let path = self.path(key);
        if let Some(folder) = path.parent() {
            store::make_directories_to(folder)?;
        }
        durable::write_json_lazily(self.store.temporary()?, &path, record)
    }

    /// Removes the record of `key`; absent is fine.
    pub fn remove(&self, key: &Digest) -> Result<()> {
        session::remove_tree(&self.path(key))
    }

    fn path(&self, key: &Digest) -> PathBuf {
        // Split, so that no folder grows beyond what directories do well.
        let (folder, _) = key.hex().split_at(2);
        self.store.path("records").join(folder).join(key.hex())
    }
}
