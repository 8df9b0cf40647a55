//! From a resolved image to a stack of layers in the store.

use kiln_disk::{KeyLock, LayerFacts, LayerId, LayerOrigin, Patience, Store};
use kiln_oci::{ChainId, Descriptor, DiffId, MediaKind, chain_ids};
use kiln_registry::Client;

use super::arrival::{Arrival, Follower};
use super::download::Downloads;
use super::error::{PullError, Result};
use super::{PullEvent, PullObserver, ResolvedImage, waiting};
use crate::arrival::{set_source, unpack_archive};
use crate::layers::PULLED;

/// Returns the layers of `image`, bottom first, fetching and unpacking what is missing.
///
/// Blobs are downloaded in parallel and unpacked in order while they arrive; they stay in
/// the store. When all layers are there the image gets its name.
pub fn unpack_layers(
    store: &Store,
    client: &Client,
    image: &ResolvedImage,
    observer: PullObserver<'_>,
) -> Result<Vec<LayerId>> {
    let chain_ids = chain_ids(&image.config.rootfs.diff_ids);
    let missing = missing(store, image, &chain_ids)?;
    let wanted: Vec<_> = missing
        .iter()
        .map(|one| (*one, Arrival::default()))
        .collect();
    let reference = &image.reference;
    let downloads = Downloads::new(store, client, reference, observer, &wanted);
    let mut unpacking = Unpacking {
        store,
        image,
        observer,
        stack: Vec::new(),
        finished: Vec::new(),
    };
    let unpacked = std::thread::scope(|scope| {
        for _ in 0..downloads.connections() {
            scope.spawn(|| downloads.work());
        }
        let unpacked = unpacking.run(&chain_ids, &wanted);
        downloads.stop();
        unpacked
    });
    // Also after a failure: the layers below it need not be unpacked again.
    let published = unpacking.publish();
    unpacked?;
    published?;
    if !image.is_local && reference.digest().is_none() {
        store.images().put(reference, &image.target)?;
    }
    Ok(unpacking.stack)
}

/// Returns the layers that are not unpacked, each blob once.
fn missing<'a>(
    store: &Store,
    image: &'a ResolvedImage,
    chain_ids: &[ChainId],
) -> Result<Vec<&'a Descriptor>> {
    let mut missing: Vec<&Descriptor> = Vec::new();
    for (chain_id, descriptor) in chain_ids.iter().zip(&image.manifest.layers) {
        let is_listed = missing.iter().any(|one| one.digest == descriptor.digest);
        if present(store, chain_id)?.is_none() && !is_listed {
            missing.push(descriptor);
        }
    }
    Ok(missing)
}

fn present(store: &Store, chain_id: &ChainId) -> Result<Option<LayerId>> {
    let layer = store.chains().get(chain_id)?;
    Ok(layer.filter(|layer| store.layers().exists(layer)))
}

/// Unpacks one layer after the other.
struct Unpacking<'a> {
    store: &'a Store,
    image: &'a ResolvedImage,
    observer: PullObserver<'a>,
    stack: Vec<LayerId>,
    /// What is committed but not yet named, with the locks of the names.
    finished: Vec<Finished>,
}

struct Finished {
    chain_id: ChainId,
    layer: LayerId,
    /// Others that want the layer wait until it has its name. Taken from the bottom up,
    /// which is one order for all images, since a chain ID stands for all that is below.
    _lock: KeyLock,
}

/// A layer to be unpacked.
struct Part<'a> {
    chain_id: &'a ChainId,
    diff_id: &'a DiffId,
    descriptor: &'a Descriptor,
}

impl Unpacking<'_> {
    fn run(&mut self, chain_ids: &[ChainId], wanted: &[(&Descriptor, Arrival)]) -> Result<()> {
        let image = self.image;
        let parts = chain_ids
            .iter()
            .zip(&image.config.rootfs.diff_ids)
            .zip(&image.manifest.layers);
        for ((chain_id, diff_id), descriptor) in parts {
            let layer = self.layer(
                &Part {
                    chain_id,
                    diff_id,
                    descriptor,
                },
                wanted,
            )?;
            self.stack.push(layer);
        }
        Ok(())
    }

    fn layer(&mut self, part: &Part<'_>, wanted: &[(&Descriptor, Arrival)]) -> Result<LayerId> {
        let blob = || part.descriptor.digest.clone();
        if let Some(layer) = present(self.store, part.chain_id)? {
            (self.observer)(PullEvent::Present { blob: blob() });
            return Ok(layer);
        }
        let mut tell = waiting(&part.descriptor.digest, self.observer);
        let name = format!("layer {}", part.chain_id);
        let lock = self.store.lock_key(&name, |holder| {
            tell(holder);
            Patience::Wait
        })?;
        if let Some(layer) = present(self.store, part.chain_id)? {
            (self.observer)(PullEvent::Present { blob: blob() });
            return Ok(layer);
        }
        let arrival = wanted
            .iter()
            .find(|(one, _)| one.digest == part.descriptor.digest);
        let Some((_, arrival)) = arrival else {
            // It was there a moment ago; somebody collects garbage.
            let missing = LayerId::of_chain(part.chain_id);
            return Err(kiln_disk::Error::LayerMissing(missing).into());
        };
        (self.observer)(PullEvent::Unpacking { blob: blob() });
        let layer = self.unpack(part, arrival)?;
        (self.observer)(PullEvent::Unpacked { blob: blob() });
        let chain_id = part.chain_id.clone();
        self.finished.push(Finished {
            chain_id,
            layer: layer.clone(),
            _lock: lock,
        });
        Ok(layer)
    }

    fn unpack(&self, part: &Part<'_>, arrival: &Arrival) -> Result<LayerId> {
        let MediaKind::Layer(encoding) = part.descriptor.media_type.kind() else {
            let reason = format!("`{}` is no type of a layer", part.descriptor.media_type);
            return Err(PullError::NoImage {
                image: self.name(),
                reason,
            });
        };
        let input = Follower::new(arrival);
        let unpacked = unpack_archive(self.store, &self.stack, input, encoding);
        let unpacked = unpacked.map_err(|error| self.failure(part, error))?;
        // A wrong blob is the reason for whatever the archive's reader made of it.
        arrival.wait()?;
        unpacked
            .applied
            .map_err(|error| self.failure(part, error))?;
        self.check_diff_id(part, unpacked.found)?;
        let layer = unpacked.active.commit(LayerId::of_chain(part.chain_id))?;
        self.remember(part, &layer, unpacked.uncompressed_size)?;
        Ok(layer)
    }

    fn check_diff_id(&self, part: &Part<'_>, found: kiln_oci::Digest) -> Result<()> {
        match found == part.diff_id.0 {
            true => Ok(()),
            false => Err(PullError::WrongDiffId {
                image: self.name(),
                digest: part.descriptor.digest.clone(),
                expected: part.diff_id.0.clone(),
                found,
            }),
        }
    }

    fn remember(&self, part: &Part<'_>, layer: &LayerId, uncompressed_size: u64) -> Result<()> {
        let diff_id = part.diff_id.clone();
        let origin = LayerOrigin::Unpacked {
            capture_digest: None,
        };
        self.store.layers().set_facts(
            layer,
            &LayerFacts {
                created_seconds: crate::layers::now_seconds(),
                diff_id,
                uncompressed_size,
                origin,
            },
        )?;
        let compressed = self.store.compressed();
        compressed.put(part.diff_id, PULLED, part.descriptor)?;
        let reference = &self.image.reference;
        set_source(self.store, part.diff_id, part.descriptor, reference)
            .map_err(|error| self.failure(part, error))
    }

    /// Makes the finished layers durable, then findable for others.
    fn publish(&mut self) -> Result<()> {
        if self.finished.is_empty() {
            return Ok(());
        }
        self.store.sync()?;
        for finished in self.finished.drain(..) {
            self.store
                .chains()
                .set(&finished.chain_id, &finished.layer)?;
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.image.reference.familiar()
    }

    fn failure(
        &self,
        part: &Part<'_>,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> PullError {
        let (image, digest) = (self.name(), part.descriptor.digest.clone());
        PullError::Unpack {
            image,
            digest,
            source: error.into(),
        }
    }
}
