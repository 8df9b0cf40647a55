//! Images on their way to a registry: blobs side by side, large ones while they are compressed,
//! manifests when all of them are there.
//!
//! A blob is sent only if the registry lacks it and cannot take it from the repository that
//! it was pulled from. The tag moves last: it never names something incomplete.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kiln_disk::Store;
use kiln_oci::{Descriptor, DiffId, Digest, Reference};
use kiln_registry::{Client, Pushed};

use crate::arrival::source_of;
use crate::error::{Error, Result};
use crate::growing::GrowingLayer;
use crate::image::Image;
use crate::pack::{self, PackedImage, Packing, Progress};

const PARALLEL_UPLOADS: usize = 4;

/// What happens while an image goes out, for those who show progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushEvent {
    /// The image is being made ready.
    Packing(Progress),
    /// A blob is on its way.
    Pushing(Descriptor),
    /// A blob is there.
    Blob {
        /// The blob.
        blob: Descriptor,
        /// How it came to be there.
        outcome: Pushed,
    },
    /// A manifest or index is there.
    Manifest(Descriptor),
}

impl fmt::Display for PushEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packing(Progress::Packing(diff_id)) => {
                write!(formatter, "packing layer {}", diff_id.0)
            }
            Self::Packing(Progress::Growing(_)) => formatter.write_str("compressing a layer"),
            Self::Packing(Progress::Packed(blob)) => write!(formatter, "packed {}", blob.digest),
            Self::Packing(Progress::Writing(blob)) => write!(formatter, "writing {}", blob.digest),
            Self::Packing(Progress::Manifest(one)) => write!(formatter, "manifest {}", one.digest),
            Self::Pushing(blob) => {
                write!(formatter, "pushing {} ({} bytes)", blob.digest, blob.size)
            }
            Self::Blob { blob, outcome } => {
                let outcome = match outcome {
                    Pushed::Existed => "exists",
                    Pushed::Mounted => "mounted",
                    Pushed::Uploaded => "pushed",
                };
                write!(formatter, "{outcome} {}", blob.digest)
            }
            Self::Manifest(one) => write!(formatter, "pushed manifest {}", one.digest),
        }
    }
}

/// What the manifest or index is called in its repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Naming {
    /// By the tag or digest of the reference.
    #[default]
    Reference,
    /// By its own digest alone: others put it into an index.
    Digest,
}

/// Who is told of the progress; called from several threads.
pub type PushObserver<'a> = &'a (dyn Fn(PushEvent) + Sync);

/// Pushes `images` (the platforms of one image) under the name `target`; returns what the
/// name leads to then: the manifest of a single image, else an index.
///
/// Layers that were built are compressed as `packing` asks, pulled ones go as they came.
pub fn push(
    store: &Store,
    client: &Client,
    images: &[Image],
    target: &Reference,
    packing: &Packing,
    naming: Naming,
    observer: PushObserver<'_>,
) -> Result<Descriptor> {
    let pushing = Pushing {
        store,
        client,
        target,
        observer,
        packing,
        naming,
    };
    let packed = pushing.pack_and_push(images)?;
    pushing.manifests(&packed)
}

/// What is to be pushed.
enum Part {
    Blob(Box<Blob>),
    Growing(GrowingLayer),
}

/// A blob to be pushed.
struct Blob {
    descriptor: Descriptor,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    Layer(DiffId),
}

/// Blobs that are ready, each once, for those who push them.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    parts: VecDeque<Part>,
    known: HashSet<Digest>,
    is_complete: bool,
    failure: Option<Error>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, descriptor: &Descriptor, content: Content) {
        let mut state = self.lock();
        if state.known.insert(descriptor.digest.clone()) {
            let descriptor = descriptor.clone();
            let blob = Blob {
                descriptor,
                content,
            };
            state.parts.push_back(Part::Blob(Box::new(blob)));
            self.changed.notify_one();
        }
    }

    fn add_growing(&self, layer: GrowingLayer) {
        self.lock().parts.push_back(Part::Growing(layer));
        self.changed.notify_one();
    }

    /// Says that nothing more is added.
    fn complete(&self) {
        self.lock().is_complete = true;
        self.changed.notify_all();
    }

    /// Keeps further blobs from being begun; the first failure counts.
    fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    fn has_failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Waits for a blob; nothing at the end and after a failure.
    fn next(&self) -> Option<Part> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(part) = state.parts.pop_front() {
                return Some(part);
            }
            if state.is_complete {
                return None;
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Pushing<'a> {
    store: &'a Store,
    client: &'a Client,
    target: &'a Reference,
    observer: PushObserver<'a>,
    packing: &'a Packing,
    naming: Naming,
}

impl Pushing<'_> {
    /// Makes the images ready, and pushes the blobs that are, a few at a time.
    fn pack_and_push(&self, images: &[Image]) -> Result<Vec<PackedImage>> {
        let queue = Queue::default();
        let packed = std::thread::scope(|scope| {
            for _ in 0..PARALLEL_UPLOADS {
                scope.spawn(|| self.work(&queue));
            }
            let packed = self.pack(images, &queue);
            queue.complete();
            packed
        });
        let failure = queue.lock().failure.take();
        match failure {
            Some(error) => Err(error),
            None => packed,
        }
    }

    /// Makes the images ready, and hands blobs to `queue` as soon as they are.
    fn pack(&self, images: &[Image], queue: &Queue) -> Result<Vec<PackedImage>> {
        let layer = RefCell::new(None);
        let observe = |progress: Progress| {
            match &progress {
                Progress::Packing(diff_id) => *layer.borrow_mut() = Some(diff_id.clone()),
                Progress::Growing(growing) => {
                    *layer.borrow_mut() = None;
                    queue.add_growing(growing.clone());
                }
                Progress::Packed(blob) => {
                    if let Some(diff_id) = layer.borrow_mut().take() {
                        queue.add(blob, Content::Layer(diff_id));
                    }
                }
                Progress::Writing(_) | Progress::Manifest(_) => {}
            }
            (self.observer)(PushEvent::Packing(progress));
        };
        let mut packed = Vec::with_capacity(images.len());
        for image in images {
            if queue.has_failed() {
                break;
            }
            match pack::pack(self.store, image, self.packing, &observe) {
                Ok(image) => {
                    queue.add(&image.config, Content::Bytes(image.config_bytes.clone()));
                    packed.push(image);
                }
                Err(error) => {
                    queue.fail(error);
                    break;
                }
            }
        }
        Ok(packed)
    }

    fn work(&self, queue: &Queue) {
        while let Some(part) = queue.next() {
            let pushed = match &part {
                Part::Blob(blob) => self.blob(blob),
                Part::Growing(layer) => self.growing(layer),
            };
            if let Err(error) = pushed {
                queue.fail(error);
            }
        }
    }

    fn growing(&self, layer: &GrowingLayer) -> Result<()> {
        match self.client.push_growing(self.target, layer) {
            Ok((blob, outcome)) => {
                (self.observer)(PushEvent::Blob { blob, outcome });
                Ok(())
            }
            // Whoever compresses it says why.
            Err(_) if layer.has_failed() => Ok(()),
            Err(error) => Err(self.failure(error)),
        }
    }

    fn blob(&self, part: &Blob) -> Result<()> {
        let blob = &part.descriptor;
        let source = match &part.content {
            Content::Layer(diff_id) => source_of(self.store, diff_id)?,
            Content::Bytes(_) => None,
        };
        // Where it was pulled from there is that very blob, not another form of the layer.
        let source = source
            .filter(|(_, pulled)| pulled.digest == blob.digest)
            .map(|(name, _)| name);
        (self.observer)(PushEvent::Pushing(blob.clone()));
        let open = |position| self.open(part, source.as_ref(), position);
        let outcome = self
            .client
            .push_blob(self.target, blob, open, source.as_ref());
        let outcome = outcome.map_err(|source| self.blob_failure(part, source))?;
        (self.observer)(PushEvent::Blob {
            blob: blob.clone(),
            outcome,
        });
        Ok(())
    }

    /// Opens the blob from `position` on: in memory, in the store, or where it was pulled from.
    fn open(
        &self,
        part: &Blob,
        source: Option<&Reference>,
        position: u64,
    ) -> io::Result<Box<dyn Read + Send>> {
        if let Content::Bytes(bytes) = &part.content {
            let mut cursor = Cursor::new(bytes.clone());
            cursor.set_position(position);
            return Ok(Box::new(cursor));
        }
        let blob = &part.descriptor;
        match (self.store.blobs().open(&blob.digest), source) {
            (Ok(mut file), _) => {
                file.seek(SeekFrom::Start(position))?;
                Ok(Box::new(file))
            }
            (Err(kiln_disk::Error::BlobMissing(_)), Some(source)) => {
                let range = position..blob.size;
                let reader = self.client.blob_part(source, blob, range);
                Ok(Box::new(reader.map_err(io::Error::other)?))
            }
            (Err(error), _) => Err(io::Error::other(error)),
        }
    }

    fn manifests(&self, images: &[PackedImage]) -> Result<Descriptor> {
        let Some((index, bytes)) = pack::pack_index(images, self.packing) else {
            // There is exactly one image if it needs no index.
            let image = &images[0];
            let name = self.name(&image.manifest);
            return self.manifest(&name, &image.manifest, &image.manifest_bytes);
        };
        for image in images {
            let untagged = self.target.with_digest(image.manifest.digest.clone());
            self.manifest(&untagged, &image.manifest, &image.manifest_bytes)?;
        }
        self.manifest(&self.name(&index), &index, &bytes)
    }

    fn name(&self, descriptor: &Descriptor) -> Reference {
        match self.naming {
            Naming::Reference => self.target.clone(),
            Naming::Digest => self.target.with_digest(descriptor.digest.clone()),
        }
    }

    fn manifest(
        &self,
        target: &Reference,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<Descriptor> {
        let pushed = self
            .client
            .push_manifest(target, &descriptor.media_type, bytes);
        pushed.map_err(|source| self.failure(source))?;
        (self.observer)(PushEvent::Manifest(descriptor.clone()));
        Ok(descriptor.clone())
    }

    /// Returns why a blob was not taken: perhaps it is not what it was.
    fn blob_failure(&self, part: &Blob, source: kiln_registry::Error) -> Error {
        let is_stored = matches!(part.content, Content::Layer(_));
        match is_stored.then(|| self.store.blobs().check(&part.descriptor.digest)) {
            Some(Err(damaged @ kiln_disk::Error::BlobDamaged { .. })) => damaged.into(),
            _ => self.failure(source),
        }
    }

    fn failure(&self, source: kiln_registry::Error) -> Error {
        Error::Push {
            image: self.target.familiar(),
            source: Box::new(source),
        }
    }
}
