//! The layer that a copy of the same sources to the same place made before.
//!
//! A file in the store's `index/` leads to it. It is a hint and nothing more: what it leads to may
//! be gone, or be something else; each file of it is looked at before it is used.

use crate::worker::{BuildWorker, Product};
use kiln_disk::LayerId;
use kiln_layer::copy::{Copied, Earlier};
use kiln_plan::Copy;
use std::path::PathBuf;

/// A copy of fewer files is not worth a file that leads to it.
const FEW_FILES: u64 = 16;

/// The copies of one directory's files to one place.
pub(super) struct Lineage {
    path: PathBuf,
}

impl Lineage {
    /// Returns that of `copy` from `source`; none for files that no later build has again.
    pub fn of(worker: &BuildWorker<'_>, copy: &Copy, source: &Product) -> Option<Self> {
        let Product::Directory(name) = source else {
            return None;
        };
        let root = worker.contexts.lasting_name(name)?;
        let (sources, destination) = (&copy.sources, &copy.destination);
        let name = format!("copy of {sources:?} to {destination:?} from {root}");
        let path = worker.store.index_path(&name).ok()?;
        Some(Lineage { path })
    }

    /// Returns the latest layer, which stays while the store is open, and its files.
    pub fn latest(&self, worker: &BuildWorker<'_>) -> Option<(LayerId, Earlier)> {
        let written = std::fs::read_to_string(&self.path).ok()?;
        let layer: LayerId = written.trim_end().parse().ok()?;
        let layers = worker.store.layers();
        if !layers.lease(&layer).ok()? {
            return None;
        }
        let earlier = Earlier::open(&layers.diff_path(&layer), worker.whiteouts)?;
        Some((layer, earlier))
    }

    /// Takes note of `layer`, which was `copied`, maybe with files of `earlier`.
    pub fn note(
        &self,
        worker: &BuildWorker<'_>,
        layer: &LayerId,
        copied: &Copied,
        earlier: Option<&LayerId>,
    ) {
        if copied.shared_files > 0 {
            // Sizes are estimates without it.
            for layer in earlier.into_iter().chain([layer]) {
                let _ = worker.store.layers().note_shared_files(layer);
            }
        }
        // Two names of one file must stay two names of one file, in every layer.
        if copied.files >= FEW_FILES && !copied.has_hard_links {
            let written = format!("{layer}\n");
            // Without it the next copy only takes longer.
            let _ = worker.store.replace_file(&self.path, written.as_bytes());
        }
    }
}
