//! From a resolved image to a stack of layers in the store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_disk::{KeyLock, LayerFacts, LayerId, LayerOrigin, Patience, Store};
use kiln_layer::archive::UnpackSummary;
use kiln_oci::{ChainId, Descriptor, DiffId, LayerEncoding, MediaKind, chain_ids};
use kiln_registry::Client;

use super::ahead::{self, Ahead};
use super::arrival::{Arrival, Follower};
use super::download::Downloads;
use super::error::{PullError, Result};
use super::{PullEvent, PullObserver, PullPolicy, ResolvedImage, waiting};
use crate::arrival::{Lowers, UnpackedArchive, set_source, unpack_archive};
use crate::layers::PULLED;

/// Returns the layers of `image`, bottom first, fetching and unpacking what is missing.
///
/// Blobs are downloaded in parallel, and unpacked beside each other while they arrive; they
/// stay in the store. When all layers are there the image gets its name.
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
        brought: UnpackSummary::default(),
    };
    let unpacked = std::thread::scope(|scope| {
        for _ in 0..downloads.connections() {
            scope.spawn(|| downloads.work());
        }
        let parts = unpacking.parts(&chain_ids, &wanted);
        let unpacked = parts.and_then(|parts| unpacking.run(&parts, &downloads));
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

/// Makes layers of what arrives, and gives them their names from the bottom up.
struct Unpacking<'a> {
    store: &'a Store,
    image: &'a ResolvedImage,
    observer: PullObserver<'a>,
    stack: Vec<LayerId>,
    /// What is committed but not yet named, with the locks of the names.
    finished: Vec<Finished>,
    brought: UnpackSummary,
}

struct Finished {
    chain_id: ChainId,
    layer: LayerId,
    /// Others that want the layer wait until it has its name. Taken from the bottom up,
    /// which is one order for all images, since a chain ID stands for all that is below.
    _lock: KeyLock,
}

/// A layer of the image.
struct Part<'a> {
    chain_id: &'a ChainId,
    diff_id: &'a DiffId,
    descriptor: &'a Descriptor,
    work: Work<'a>,
}

/// What there is to do about a layer.
enum Work<'a> {
    /// It is there.
    Present(LayerId),
    /// It is to be unpacked, by us.
    Unpack {
        arrival: &'a Arrival,
        encoding: LayerEncoding,
        ahead: Ahead,
        lock: Mutex<Option<KeyLock>>,
    },
}

impl<'a> Unpacking<'a> {
    /// Returns the layers, bottom first; those that are missing are ours to make from now on.
    fn parts(
        &self,
        chain_ids: &'a [ChainId],
        wanted: &'a [(&'a Descriptor, Arrival)],
    ) -> Result<Vec<Part<'a>>> {
        let parts = chain_ids
            .iter()
            .zip(&self.image.config.rootfs.diff_ids)
            .zip(&self.image.manifest.layers);
        let part = |((chain_id, diff_id), descriptor)| {
            Ok(Part {
                chain_id,
                diff_id,
                descriptor,
                work: self.work(chain_id, descriptor, wanted)?,
            })
        };
        parts.map(part).collect()
    }

    fn work(
        &self,
        chain_id: &ChainId,
        descriptor: &Descriptor,
        wanted: &'a [(&'a Descriptor, Arrival)],
    ) -> Result<Work<'a>> {
        if let Some(layer) = present(self.store, chain_id)? {
            return Ok(Work::Present(layer));
        }
        let mut tell = waiting(&descriptor.digest, self.observer);
        let name = format!("layer {chain_id}");
        let lock = self.store.lock_key(&name, |holder| {
            tell(holder);
            Patience::Wait
        })?;
        if let Some(layer) = present(self.store, chain_id)? {
            return Ok(Work::Present(layer));
        }
        let mut arrivals = wanted.iter();
        let arrival = arrivals.find(|(one, _)| one.digest == descriptor.digest);
        let Some((_, arrival)) = arrival else {
            // It was there a moment ago; somebody collects garbage.
            let missing = LayerId::of_chain(chain_id);
            return Err(kiln_disk::Error::LayerMissing(missing).into());
        };
        let MediaKind::Layer(encoding) = descriptor.media_type.kind() else {
            let reason = format!("`{}` is no type of a layer", descriptor.media_type);
            let image = self.name();
            return Err(PullError::NoImage { image, reason });
        };
        Ok(Work::Unpack {
            arrival,
            encoding,
            ahead: Ahead::default(),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Makes the layers that are missing; several beside each other, named in their order.
    fn run(&mut self, parts: &[Part<'_>], downloads: &Downloads<'_>) -> Result<()> {
        let (store, observer) = (self.store, self.observer);
        // The first one's turn is now.
        let first = parts.iter().position(Part::is_missing);
        let next = AtomicUsize::new(first.map_or(parts.len(), |first| first + 1));
        let stopped = AtomicBool::new(false);
        let unpack_ahead = || {
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Work::Unpack {
                    arrival,
                    encoding,
                    ahead,
                    ..
                } = &part.work
                    && !stopped.load(Ordering::Relaxed)
                {
                    ahead.unpack(store, arrival, *encoding, &stopped, || {
                        let blob = part.descriptor.digest.clone();
                        observer(PullEvent::Unpacking { blob });
                    });
                }
            }
        };
        std::thread::scope(|scope| {
            let missing = parts.iter().filter(|part| part.is_missing()).count();
            for _ in 0..ahead::threads().min(missing.saturating_sub(1)) {
                scope.spawn(unpack_ahead);
            }
            let made = parts.iter().try_for_each(|part| {
                let layer = self.layer(part)?;
                self.stack.push(layer);
                Ok(())
            });
            stopped.store(true, Ordering::Relaxed);
            downloads.stop();
            made
        })
    }

    fn layer(&mut self, part: &Part<'_>) -> Result<LayerId> {
        let blob = || part.descriptor.digest.clone();
        let (arrival, encoding, ahead, lock) = match &part.work {
            Work::Present(layer) => {
                (self.observer)(PullEvent::Present { blob: blob() });
                return Ok(layer.clone());
            }
            Work::Unpack {
                arrival,
                encoding,
                ahead,
                lock,
            } => (*arrival, *encoding, ahead, lock),
        };
        let unpacked = match ahead.take() {
            Some(unpacked) => unpacked,
            None => {
                (self.observer)(PullEvent::Unpacking { blob: blob() });
                let lowers = Lowers::Known(&self.stack);
                let input = Follower::new(arrival);
                let unpacked = unpack_archive(self.store, lowers, input, encoding);
                unpacked.map_err(|error| self.failure(part, error))?
            }
        };
        let layer = self.commit(part, arrival, unpacked)?;
        (self.observer)(PullEvent::Unpacked { blob: blob() });
        let lock = lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.finished.extend(lock.map(|lock| Finished {
            chain_id: part.chain_id.clone(),
            layer: layer.clone(),
            _lock: lock,
        }));
        Ok(layer)
    }

    fn commit(
        &mut self,
        part: &Part<'_>,
        arrival: &Arrival,
        unpacked: UnpackedArchive,
    ) -> Result<LayerId> {
        // A wrong blob is the reason for whatever the archive's reader made of it.
        arrival.wait()?;
        let summary = unpacked
            .applied
            .map_err(|error| self.failure(part, error))?;
        self.count(summary)?;
        self.check_diff_id(part, unpacked.found)?;
        let layer = unpacked.active.commit(LayerId::of_chain(part.chain_id))?;
        self.remember(part, &layer, unpacked.uncompressed_size)?;
        Ok(layer)
    }

    /// Counts what the layers brought.
    fn count(&mut self, summary: UnpackSummary) -> Result<()> {
        self.brought.entries += summary.entries;
        self.brought.content_bytes += summary.content_bytes;
        let limits = self.store.limits();
        let too_large = |what, limit| {
            let image = self.name();
            Err(PullError::TooLarge { image, what, limit })
        };
        match self.brought {
            brought if brought.entries > limits.image_entries => {
                too_large("entries", limits.image_entries)
            }
            brought if brought.content_bytes > limits.image_bytes => {
                too_large("bytes", limits.image_bytes)
            }
            _ => Ok(()),
        }
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
        let origin = LayerOrigin::unpacked(&self.stack);
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
        if self.image.policy == PullPolicy::Never {
            return Ok(());
        }
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

impl Part<'_> {
    fn is_missing(&self) -> bool {
        matches!(self.work, Work::Unpack { .. })
    }
}
