//! What an image leads to: its documents, its layers, the archives that it names.

use std::collections::HashSet;

use kiln_oci::{Descriptor, DiffId, Digest, Document, ImageConfig, Manifest, chain_ids};

use crate::error::Result;
use crate::{LayerId, Store};

/// The most bytes that a manifest or a configuration may have.
const MAXIMUM_DOCUMENT_BYTES: u64 = 8 << 20;

/// What images lead to, in the store or not.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) layers: HashSet<LayerId>,
    pub(crate) diff_ids: HashSet<DiffId>,
}

impl Reached {
    /// Adds what the manifest or index `target` leads to.
    ///
    /// A document that is missing or damaged leads nowhere: that is for `verify` to say.
    pub(crate) fn add(&mut self, store: &Store, target: &Descriptor) -> Result<()> {
        let mut pending = vec![target.clone()];
        while let Some(target) = pending.pop() {
            if !self.blobs.insert(target.digest.clone()) {
                continue;
            }
            let Ok(bytes) = store.blobs().read(&target.digest, MAXIMUM_DOCUMENT_BYTES) else {
                continue;
            };
            match Document::parse(&bytes, Some(target.media_type.as_str())) {
                Ok(Document::Index(index)) => pending.extend(index.manifests),
                Ok(Document::Manifest(manifest)) => self.add_manifest(store, &manifest)?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn add_manifest(&mut self, store: &Store, manifest: &Manifest) -> Result<()> {
        let layers = manifest.layers.iter().map(|layer| layer.digest.clone());
        self.blobs.extend(layers);
        let config = &manifest.config.digest;
        self.blobs.insert(config.clone());
        let bytes = store.blobs().read(config, MAXIMUM_DOCUMENT_BYTES);
        let Some(config) = bytes.ok().and_then(|bytes| ImageConfig::parse(&bytes).ok()) else {
            return Ok(());
        };
        let diff_ids = config.rootfs.diff_ids;
        for chain_id in chain_ids(&diff_ids) {
            let layer = store.chains().find(&chain_id)?;
            self.layers
                .extend(store.layers().with_bases(layer.as_slice()));
        }
        self.diff_ids.extend(diff_ids);
        Ok(())
    }

    /// Takes leases of all that is in the store, so that a name can be given to it.
    pub(crate) fn lease(&self, store: &Store) -> Result<()> {
        for digest in &self.blobs {
            store.leases().take(&store.blobs().path(digest))?;
        }
        for layer in &self.layers {
            store.layers().lease(layer)?;
        }
        Ok(())
    }
}
