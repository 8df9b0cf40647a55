//! Images on their way to a registry: blobs side by side, manifests when all of them are there.
//!
//! A blob is sent only if the registry lacks it and cannot take it from the repository that
//! it was pulled from. The tag moves last: it never names something incomplete.

use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use kiln_disk::Store;
use kiln_oci::{Descriptor, DiffId, Reference};
use kiln_registry::{Client, Pushed};

use crate::arrival::source_of;
use crate::error::{Error, Result};
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
    let observe = |progress| observer(PushEvent::Packing(progress));
    let pack_one = |image| pack::pack(store, image, packing, &observe);
    let packed = images.iter().map(pack_one).collect::<Result<Vec<_>>>()?;
    let pushing = Pushing {
        store,
        client,
        target,
        observer,
        packing,
        naming,
    };
    pushing.blobs(&parts(&packed))?;
    pushing.manifests(&packed)
}

/// A blob to be pushed.
struct Part<'a> {
    descriptor: &'a Descriptor,
    content: Content<'a>,
}

enum Content<'a> {
    Bytes(&'a [u8]),
    Layer(&'a DiffId),
}

/// Returns the blobs of all images, each once: layers first, for they take longest.
fn parts(images: &[PackedImage]) -> Vec<Part<'_>> {
    let layers = images
        .iter()
        .flat_map(|image| image.layers.iter().zip(&image.diff_ids));
    let layers = layers.map(|(descriptor, diff_id)| Part {
        descriptor,
        content: Content::Layer(diff_id),
    });
    let configs = images.iter().map(|image| {
        let content = Content::Bytes(&image.config_bytes);
        Part {
            descriptor: &image.config,
            content,
        }
    });
    let mut parts: Vec<Part<'_>> = Vec::new();
    for part in layers.chain(configs) {
        if !parts
            .iter()
            .any(|known| known.descriptor.digest == part.descriptor.digest)
        {
            parts.push(part);
        }
    }
    parts
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
    /// Pushes all blobs, a few at a time; the first failure keeps further ones from starting.
    fn blobs(&self, parts: &[Part<'_>]) -> Result<()> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..parts.len().min(PARALLEL_UPLOADS) {
                scope.spawn(|| {
                    while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if lock(&failure).is_some() {
                            return;
                        }
                        if let Err(error) = self.blob(part) {
                            lock(&failure).get_or_insert(error);
                        }
                    }
                });
            }
        });
        let failure = lock(&failure).take();
        failure.map_or(Ok(()), Err)
    }

    fn blob(&self, part: &Part<'_>) -> Result<()> {
        let blob = part.descriptor;
        let source = match part.content {
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
        let outcome = outcome.map_err(|source| self.failure(source))?;
        (self.observer)(PushEvent::Blob {
            blob: blob.clone(),
            outcome,
        });
        Ok(())
    }

    /// Opens the blob from `position` on: in memory, in the store, or where it was pulled from.
    fn open(
        &self,
        part: &Part<'_>,
        source: Option<&Reference>,
        position: u64,
    ) -> io::Result<Box<dyn Read + Send>> {
        if let Content::Bytes(bytes) = part.content {
            let mut cursor = Cursor::new(bytes.to_vec());
            cursor.set_position(position);
            return Ok(Box::new(cursor));
        }
        let blob = part.descriptor;
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

    fn failure(&self, source: kiln_registry::Error) -> Error {
        Error::Push {
            image: self.target.familiar(),
            source: Box::new(source),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
