//! Writing a build's records and layers to remote caches.
//!
//! Layers go out while later steps still run; at the end, when the records are known, the
//! document follows. It names only what is there.

use super::document::{Document, DocumentBuilder, LayerEntry, RecordEntry};
use super::{
    AbsentLayers, Backend, CacheDestination, CacheError, CacheMode, CacheTarget, OpenBlob,
    RemoteCache, backend,
};
use crate::worker::Product;
use crossbeam_channel::{Receiver, Sender, unbounded};
use kiln_disk::{LayerId, Store};
use kiln_layer::compress::Compression;
use kiln_oci::{Descriptor, Reference};
use kiln_plan::{CacheKey, InputUse, Plan, VertexId};
use kiln_registry::Client;
use kiln_transfer::image::{self, ImageLayer};
use kiln_transfer::{arrival, layers};
use std::collections::HashMap;
use std::io::{self, Read};
use std::thread::{Scope, ScopedJoinHandle};

/// A result that a cache shall have.
struct Recorded {
    entry: RecordEntry,
    stack: Vec<LayerId>,
}

/// Where the records of a build are.
pub(crate) struct Records<'a> {
    pub store: &'a Store,
    pub remote: &'a RemoteCache<'a>,
    pub plan: &'a Plan,
    pub targets: &'a [VertexId],
    /// The definition keys of all vertices, as far as they have one.
    pub definitions: &'a [Option<CacheKey>],
    /// The latest time stamp in what is built, in seconds since 1970.
    pub epoch: Option<i64>,
}

impl Records<'_> {
    /// Returns the records of what `mode` keeps. Steps that never ran have none.
    fn of(&self, mode: CacheMode) -> Result<Vec<Recorded>, CacheError> {
        let mut found = Vec::new();
        for vertex in kept(self.plan, self.targets, mode) {
            let key = self.definitions.get(vertex.index());
            if let Some(Some(key)) = key {
                found.extend(self.find(vertex, key)?);
            }
        }
        Ok(found)
    }

    fn find(&self, vertex: VertexId, key: &CacheKey) -> Result<Option<Recorded>, CacheError> {
        let record = self.store.records().get(key.digest());
        if let Some(record) = record.map_err(kiln_transfer::Error::from)? {
            let keys = vec![key.digest().clone(), record.canonical_key.clone()];
            let entry = RecordEntry::new(
                keys,
                record.canonical_key,
                record.created_seconds,
                record.description,
            );
            let stack = record.result;
            return Ok(Some(Recorded { entry, stack }));
        }
        // What a remote cache cannot say is not worth a failure here.
        let Ok(Some(record)) = self.remote.find(key.digest()) else {
            return Ok(None);
        };
        let keys = vec![key.digest().clone(), record.canonical_key.clone()];
        let description = self.plan.vertex(vertex).metadata.name.clone();
        let created = record.created_seconds;
        Ok(Some(Recorded {
            entry: RecordEntry::new(keys, record.canonical_key, created, description),
            stack: record.stack,
        }))
    }
}

/// Returns the vertices whose results `mode` keeps, inputs first.
pub(crate) fn kept(plan: &Plan, targets: &[VertexId], mode: CacheMode) -> Vec<VertexId> {
    let mut is_kept = vec![false; plan.len()];
    let mut wanted = targets.to_vec();
    while let Some(vertex) = wanted.pop() {
        if std::mem::replace(&mut is_kept[vertex.index()], true) {
            continue;
        }
        let op = &plan.vertex(vertex).op;
        for (input, reads) in op.inputs().into_iter().zip(op.input_uses()) {
            if mode == CacheMode::Max || reads == InputUse::Base {
                wanted.push(input);
            }
        }
    }
    let vertices = (0..plan.len()).map(VertexId::from_index);
    vertices.filter(|vertex| is_kept[vertex.index()]).collect()
}

/// Where results are handed in, while a build runs, that caches are to have.
pub(crate) struct Offers(Vec<Offer>);

struct Offer {
    is_kept: Vec<bool>,
    sender: Sender<Vec<LayerId>>,
}

impl Offers {
    /// Sends the layers of a result on their way, if a cache is to have it.
    pub fn offer(&self, vertex: VertexId, product: &Product) {
        let Product::Stack(stack) = product else {
            return;
        };
        for offer in self.0.iter().filter(|offer| offer.is_kept[vertex.index()]) {
            // A thread that failed says so at the end.
            let _ = offer.sender.send(stack.clone());
        }
    }
}

/// Writes one build's results to all its targets.
pub(crate) struct Exporter<'scope> {
    uploads: Vec<Upload<'scope>>,
}

struct Upload<'scope> {
    target: CacheTarget,
    thread: ScopedJoinHandle<'scope, Result<Uploader<'scope>, CacheError>>,
}

/// What uploads share with the build.
#[derive(Clone, Copy)]
pub(crate) struct ExportContext<'a> {
    pub store: &'a Store,
    pub client: &'a Client,
    pub absent: &'a AbsentLayers<'a>,
    /// The latest time stamp in what is built, in seconds since 1970.
    pub epoch: Option<i64>,
}

impl<'scope> Exporter<'scope> {
    /// Starts a thread for each of `cache_targets` that is a place of its own. Results are
    /// taken until the offers are dropped.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        context: ExportContext<'scope>,
        cache_targets: &[CacheTarget],
        plan: &Plan,
        targets: &[VertexId],
    ) -> (Self, Offers) {
        let (mut uploads, mut offers) = (Vec::new(), Vec::new());
        for target in cache_targets {
            let CacheDestination::Location(location) = &target.destination else {
                continue;
            };
            let (sender, receiver) = unbounded();
            let uploader = Uploader {
                context,
                backend: backend(location, context.client),
                compression: target.compression,
                sent: HashMap::new(),
            };
            let mut is_kept = vec![false; plan.len()];
            for vertex in kept(plan, targets, target.mode) {
                is_kept[vertex.index()] = true;
            }
            offers.push(Offer { is_kept, sender });
            uploads.push(Upload {
                target: target.clone(),
                thread: scope.spawn(move || uploader.run(&receiver)),
            });
        }
        (Exporter { uploads }, Offers(offers))
    }

    /// Writes what is left, then the documents. The offers have been dropped. `records` is `None` if the build failed: its
    /// caches stay as they were.
    ///
    /// Returns how it went for each target.
    pub fn finish(
        self,
        records: Option<&Records<'_>>,
    ) -> Vec<(CacheTarget, Result<(), CacheError>)> {
        let finish = |upload: Upload<'scope>| {
            let uploaded = upload
                .thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let result = uploaded.and_then(|uploader| match records {
                Some(records) => uploader.publish(records.of(upload.target.mode)?),
                None => Ok(()),
            });
            (upload.target, result)
        };
        self.uploads.into_iter().map(finish).collect()
    }
}

/// Brings layers to one cache, each once.
struct Uploader<'a> {
    context: ExportContext<'a>,
    backend: Box<dyn Backend>,
    compression: Compression,
    sent: HashMap<LayerId, (LayerEntry, Descriptor)>,
}

impl<'a> Uploader<'a> {
    fn run(mut self, receiver: &Receiver<Vec<LayerId>>) -> Result<Self, CacheError> {
        for stack in receiver {
            self.send_stack(&stack)?;
        }
        Ok(self)
    }

    fn publish(mut self, records: Vec<Recorded>) -> Result<(), CacheError> {
        let mut builder = DocumentBuilder::default();
        for record in records {
            let stack = self.send_stack(&record.stack)?;
            builder.add(record.entry, &stack);
        }
        let document = builder.finish();
        let blobs: HashMap<_, _> = self
            .sent
            .values()
            .map(|(entry, blob)| (&entry.diff_id, blob))
            .collect();
        let layers: Vec<Descriptor> = document
            .layers
            .iter()
            .filter_map(|diff_id| blobs.get(diff_id).map(|blob| (*blob).clone()))
            .collect();
        self.backend.publish(&document, &layers)
    }

    fn send_stack(&mut self, stack: &[LayerId]) -> Result<Vec<LayerEntry>, CacheError> {
        stack.iter().map(|layer| self.send(layer)).collect()
    }

    fn send(&mut self, layer: &LayerId) -> Result<LayerEntry, CacheError> {
        if let Some((entry, _)) = self.sent.get(layer) {
            return Ok(entry.clone());
        }
        let sent = match self.context.absent.get(layer) {
            Some(absent) => {
                let blob = absent.descriptor().clone();
                self.backend.put_blob(&blob, &|| absent.open(), None)?;
                let entry = LayerEntry {
                    diff_id: absent.diff_id().clone(),
                    created_seconds: absent.created_seconds(),
                };
                (entry, blob)
            }
            None => self.send_from_store(layer)?,
        };
        let entry = sent.0.clone();
        self.sent.insert(layer.clone(), sent);
        Ok(entry)
    }

    fn send_from_store(&self, layer: &LayerId) -> Result<(LayerEntry, Descriptor), CacheError> {
        let store = self.context.store;
        let facts = layers::facts(store, layer, self.context.epoch)?;
        let described = image::describe(store, layer, None, self.context.epoch)?;
        let blob = match layers::ensure_blob(store, &described, self.compression) {
            Err(kiln_transfer::Error::ArchiveMissing(_)) => self.send_from_origin(&described)?,
            blob => {
                let blob = blob?;
                let open = || open_stored(store, &blob);
                let origin = self.origin(&described)?;
                let mount_from = origin.as_ref().map(|(name, _)| name);
                self.backend.put_blob(&blob, &open, mount_from)?;
                blob
            }
        };
        let entry = LayerEntry {
            diff_id: facts.diff_id,
            created_seconds: facts.created_seconds,
        };
        Ok((entry, blob))
    }

    /// The blob of a pulled layer that was not kept: from where it was pulled.
    fn send_from_origin(&self, layer: &ImageLayer) -> Result<Descriptor, CacheError> {
        let missing = || kiln_transfer::Error::ArchiveMissing(layer.diff_id.clone());
        let (name, blob) = self.origin(layer)?.ok_or_else(missing)?;
        let client = self.context.client;
        let open: OpenBlob<'_> = &|| {
            let reader = client.blob(&name, &blob).map_err(io::Error::other)?;
            Ok(Box::new(reader))
        };
        self.backend.put_blob(&blob, open, Some(&name))?;
        Ok(blob)
    }

    /// Returns where the layer was pulled from, if it was.
    fn origin(&self, layer: &ImageLayer) -> Result<Option<(Reference, Descriptor)>, CacheError> {
        let origin = arrival::source_of(self.context.store, &layer.diff_id);
        Ok(origin.map_err(kiln_transfer::Error::from)?)
    }
}

fn open_stored(store: &Store, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
    let file = store.blobs().open(&blob.digest);
    Ok(Box::new(file.map_err(io::Error::other)?))
}

/// Returns the document that an image of `layers`, made when `created` says, gets inline: the
/// records of what the image consists of.
pub(crate) fn inline_document(
    records: &Records<'_>,
    absent: &AbsentLayers<'_>,
    layers: &[ImageLayer],
    created: &[i64],
) -> Result<Document, CacheError> {
    let diff_ids = layers.iter().map(|layer| layer.diff_id.clone());
    let mut builder = DocumentBuilder::over(diff_ids.collect());
    for record in records.of(CacheMode::Min)? {
        // The results that an image consists of are the lower parts of its stack.
        let stack = record.stack.iter().zip(created).map(|(layer, created)| {
            let known = absent.get(layer).map(|absent| absent.as_image_layer());
            let described = || image::describe(records.store, layer, None, records.epoch);
            let diff_id = known.map_or_else(described, Ok)?.diff_id;
            Ok(LayerEntry {
                diff_id,
                created_seconds: *created,
            })
        });
        let stack = stack.collect::<Result<Vec<_>, CacheError>>()?;
        if stack.len() == record.stack.len() {
            builder.add_known(record.entry, &stack);
        }
    }
    Ok(builder.finish())
}
