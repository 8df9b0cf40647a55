//! Which blobs are compressed forms of which layer: diff ID + compression → descriptor.
//!
//! A compression is told by name, level included where it matters: `gzip`, `zstd-19`.
//!
//! A blob named here need not be in the store: one that was pulled and unpacked without
//! being kept is still in its registry.

use std::path::PathBuf;

use kiln_oci::{Descriptor, DiffId};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::images::list_files;
use crate::{Store, durable, store};

/// The compressed forms of a store's layers.
#[derive(Debug, Clone, Copy)]
pub struct Compressed<'store> {
    store: &'store Store,
}

/// One compressed form of a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompressedLayer {
    /// The blob: its media type, digest and size.
    pub descriptor: Descriptor,
}

impl<'store> Compressed<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Returns the form of the layer that `compression` made.
    pub fn get(&self, diff_id: &DiffId, compression: &str) -> Result<Option<Descriptor>> {
        let path = self
            .folder(diff_id)
            .join(crate::logs::file_name(compression));
        let form = durable::read_json_or_forget::<CompressedLayer>(&path)?;
        Ok(form.map(|form| form.descriptor))
    }

    /// Remembers that `descriptor` is what `compression` makes of the layer.
    pub fn put(&self, diff_id: &DiffId, compression: &str, descriptor: &Descriptor) -> Result<()> {
        let folder = self.folder(diff_id);
        store::make_directories_to(&folder)?;
        let form = CompressedLayer {
            descriptor: descriptor.clone(),
        };
        let path = folder.join(crate::logs::file_name(compression));
        durable::write_json_lazily(self.store.temporary()?, &path, &form)
    }

    /// Returns all known forms of the layer.
    pub fn all(&self, diff_id: &DiffId) -> Result<Vec<Descriptor>> {
        let mut forms = Vec::new();
        for path in list_files(&self.folder(diff_id))? {
            let form = durable::read_json_or_forget::<CompressedLayer>(&path)?;
            forms.extend(form.map(|form| form.descriptor));
        }
        Ok(forms)
    }

    fn folder(&self, diff_id: &DiffId) -> PathBuf {
        self.store.path("compressed").join(diff_id.digest().hex())
    }
}
