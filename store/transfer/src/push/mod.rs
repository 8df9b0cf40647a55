//! Images on their way to a registry: blobs side by side, large ones while they are compressed,
//! manifests when all of them are there.
//!
//! A blob is sent only if the registry lacks it and cannot take it from the repository that
//! it was pulled from. The tag moves last: it never names something incomplete.

mod ahead;
mod queue;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use kiln_disk::Store;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{Client, Pushed};

use crate::arrival::source_of;
use crate::error::{Error, Result};
use crate::growing::GrowingLayer;
use crate::image::Image;
use crate::pack::{self, PackedImage, Packing, Progress};

pub use ahead::Ahead;
use queue::{Blob, Content, Part, Queue};

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

/// Where images go, and how.
#[derive(Clone, Copy)]
pub struct PushTarget<'a> {
    /// The name that they get there.
    pub name: &'a Reference,
    /// What leads to them.
    pub naming: Naming,
    /// How they are made ready: layers that were built are compressed so, pulled ones go as they
    /// came.
    pub packing: &'a Packing,
    /// What is on its way to that repository already.
    pub ahead: Option<&'a Ahead<'a>>,
}

/// Pushes `images` (the platforms of one image) to `target`; returns what the name leads to
/// then: the manifest of a single image, else an index.
pub fn push(
    store: &Store,
    client: &Client,
    images: &[Image],
    target: PushTarget<'_>,
    observer: PushObserver<'_>,
) -> Result<Descriptor> {
    let pushing = Pushing {
        store,
        client,
        target,
        observer,
    };
    let packed = pushing.pack_and_push(images)?;
    pushing.manifests(&packed)
}

struct Pushing<'a> {
    store: &'a Store,
    client: &'a Client,
    target: PushTarget<'a>,
    observer: PushObserver<'a>,
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
        match queue.take_failure() {
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
            match pack::pack(self.store, image, self.target.packing, &observe) {
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
        match self.client.push_growing(self.target.name, layer) {
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
        (self.observer)(PushEvent::Pushing(blob.clone()));
        let ahead = self.target.ahead;
        let outcome = match ahead.and_then(|ahead| ahead.outcome(&blob.digest)) {
            Some(outcome) => outcome,
            None => self.send(part)?,
        };
        (self.observer)(PushEvent::Blob {
            blob: blob.clone(),
            outcome,
        });
        Ok(())
    }

    /// Sends a blob, unless it is there or can be taken from where it was pulled.
    fn send(&self, part: &Blob) -> Result<Pushed> {
        let blob = &part.descriptor;
        let source = match &part.content {
            Content::Layer(diff_id) => source_of(self.store, diff_id)?,
            Content::Bytes(_) => None,
        };
        // Where it was pulled from there is that very blob, not another form of the layer.
        let source = source
            .filter(|(_, pulled)| pulled.digest == blob.digest)
            .map(|(name, _)| name);
        let open = |position| self.open(part, source.as_ref(), position);
        let outcome = self
            .client
            .push_blob(self.target.name, blob, open, source.as_ref());
        outcome.map_err(|source| self.blob_failure(part, source))
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
        let Some((index, bytes)) = pack::pack_index(images, self.target.packing) else {
            // There is exactly one image if it needs no index.
            let image = &images[0];
            let name = self.name(&image.manifest);
            return self.manifest(&name, &image.manifest, &image.manifest_bytes);
        };
        for image in images {
            let untagged = self.target.name.with_digest(image.manifest.digest.clone());
            self.manifest(&untagged, &image.manifest, &image.manifest_bytes)?;
        }
        self.manifest(&self.name(&index), &index, &bytes)
    }

    fn name(&self, descriptor: &Descriptor) -> Reference {
        match self.target.naming {
            Naming::Reference => self.target.name.clone(),
            Naming::Digest => self.target.name.with_digest(descriptor.digest.clone()),
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
            image: self.target.name.familiar(),
            source: Box::new(source),
        }
    }
}
