//! Layers as blobs: captured, hashed and compressed when somebody needs it, and once.

use std::io::{self, Write};
use std::path::Path;

use kiln_disk::{KeyLock, LayerFacts, LayerId, LayerOrigin, Patience, Store};
use kiln_layer::blob::{LayerBlob, write_layer_blob};
use kiln_layer::capture::{CaptureOptions, capture_union};
use kiln_layer::compress::Compression;
use kiln_layer::digest::DigestWriter;
use kiln_oci::{Descriptor, DiffId, MediaFamily};

use crate::error::{Error, Result};
use crate::growing::{Begun, GrowingLayer, LayerBlobWriter};
use crate::image::{self, ImageLayer};

/// The name under which the index of compressed layers has the blob that a layer was pulled
/// as: how its publisher compressed it is not known.
pub const PULLED: &str = "pulled";

/// Returns the blob that the layer was pulled as, if it was pulled.
pub fn pulled(store: &Store, diff_id: &DiffId) -> Result<Option<Descriptor>> {
    Ok(store.compressed().get(diff_id, PULLED)?)
}

/// Returns what is known about a layer, reading it all if nobody has done so before.
///
/// `clamp_mtime_seconds` is the latest modification time that its archive will have: a layer
/// has one archive for each. It has no effect on a layer that was pulled. Processes that ask
/// at once read it once.
pub fn facts(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
) -> Result<LayerFacts> {
    if let Some(facts) = known_facts(store, layer, clamp_mtime_seconds)? {
        return Ok(facts);
    }
    let _lock = lock_capture(store, layer)?;
    match known_facts(store, layer, clamp_mtime_seconds)? {
        Some(facts) => Ok(facts),
        None => captured_facts(store, layer, clamp_mtime_seconds, &|| false),
    }
}

fn lock_capture(store: &Store, layer: &LayerId) -> Result<KeyLock> {
    Ok(store.lock_key(&format!("capture {layer}"), |_| Patience::Wait)?)
}

/// Makes what an image of the layer will need: what is known about it and its blobs, by each of
/// `compressions`. The files are read once for the first of them.
///
/// For whoever has time for it before the image is made.
pub fn prepare(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
    compressions: &[Compression],
    watch: Watch<'_>,
) -> Result<()> {
    prepare_facts(store, layer, clamp_mtime_seconds, compressions, watch)?;
    if compressions.is_empty() {
        return Ok(());
    }
    let described = image::describe(store, layer, None, clamp_mtime_seconds)?;
    for compression in compressions {
        watch.making(*compression, |making| {
            ensure(store, &described, making).map(drop)
        })?;
    }
    Ok(())
}

/// Who has layers prepared.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Asked again and again: when it says so, the work ends with an error.
    pub is_stopped: Stop<'a>,
    /// Told of each blob as soon as it is being made.
    pub begun: &'a dyn Fn(Compression, GrowingLayer),
}

impl Watch<'_> {
    fn making<T>(self, compression: Compression, make: impl FnOnce(Making<'_>) -> T) -> T {
        let begun = |layer| (self.begun)(compression, layer);
        make(Making {
            compression,
            is_stopped: self.is_stopped,
            begun: &begun,
        })
    }
}

fn prepare_facts(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
    compressions: &[Compression],
    watch: Watch<'_>,
) -> Result<()> {
    let _lock = lock_capture(store, layer)?;
    if known_facts(store, layer, clamp_mtime_seconds)?.is_some() {
        return Ok(());
    }
    let Some(compression) = compressions.first() else {
        return captured_facts(store, layer, clamp_mtime_seconds, watch.is_stopped).map(drop);
    };
    let (writer, blob) = watch.making(*compression, |making| {
        write_blob(store, layer, clamp_mtime_seconds, making)
    })?;
    keep_blob(store, writer, &blob, *compression)?;
    let (diff_id, size) = (blob.diff_id, blob.uncompressed_size);
    keep_facts(store, layer, clamp_mtime_seconds, diff_id, size).map(drop)
}

fn known_facts(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
) -> Result<Option<LayerFacts>> {
    let origin = LayerOrigin::Captured {
        clamp_mtime_seconds,
    };
    match store.layers().facts(layer)? {
        Some(facts) if matches!(facts.origin, LayerOrigin::Unpacked { .. }) => Ok(Some(facts)),
        Some(facts) if facts.origin == origin => Ok(Some(facts)),
        Some(_) => Ok(store.layers().clamped_facts(layer, clamp_mtime_seconds)?),
        None => Ok(None),
    }
}

/// Returns what is known about the archive of the layer that has the digest `diff_id`: an
/// image that was built earlier may have another one than is asked for today.
pub fn facts_of(store: &Store, layer: &LayerId, diff_id: &DiffId) -> Result<Option<LayerFacts>> {
    let all = store.layers().all_facts(layer)?;
    Ok(all.into_iter().find(|facts| facts.diff_id == *diff_id))
}

/// Reads a layer and keeps what is found. The time at which it was made is that of the first
/// time anybody did so.
fn captured_facts(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
    is_stopped: Stop<'_>,
) -> Result<LayerFacts> {
    let mut digest = DigestWriter::new(io::sink());
    capture_layer(store, layer, clamp_mtime_seconds, is_stopped, &mut digest)?;
    let (_, digest, size) = digest.finish();
    keep_facts(store, layer, clamp_mtime_seconds, DiffId(digest), size)
}

/// Remembers the digest and size of the archive of a layer that was told while the layer was
/// made: what [`facts`] would find by reading it.
pub fn note_archive(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
    diff_id: DiffId,
    uncompressed_size: u64,
) -> Result<()> {
    keep_facts(
        store,
        layer,
        clamp_mtime_seconds,
        diff_id,
        uncompressed_size,
    )
    .map(drop)
}

fn keep_facts(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
    diff_id: DiffId,
    uncompressed_size: u64,
) -> Result<LayerFacts> {
    let first = store.layers().facts(layer)?;
    let origin = LayerOrigin::Captured {
        clamp_mtime_seconds,
    };
    let facts = LayerFacts {
        created_seconds: first
            .as_ref()
            .map_or_else(now_seconds, |first| first.created_seconds),
        diff_id,
        uncompressed_size,
        origin,
    };
    match first {
        None => store.layers().set_facts(layer, &facts)?,
        Some(_) => store
            .layers()
            .set_clamped_facts(layer, clamp_mtime_seconds, &facts)?,
    }
    Ok(facts)
}

/// Whether what is being done is not wanted any more.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// A sink that fails once nobody wants what it takes. Asking may take a system call, so that it
/// asks now and then.
struct Stoppable<'a> {
    inner: &'a mut dyn Write,
    is_stopped: Stop<'a>,
    unasked_bytes: usize,
}

/// Bytes after which a capture asks whether it is still wanted.
const ASK_AFTER_BYTES: usize = 1 << 20;

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unasked_bytes += bytes.len();
        if self.unasked_bytes >= ASK_AFTER_BYTES {
            self.unasked_bytes = 0;
            if (self.is_stopped)() {
                return Err(io::Error::other("it was stopped"));
            }
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn capture_layer(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
    is_stopped: Stop<'_>,
    sink: &mut dyn Write,
) -> Result<()> {
    let options = CaptureOptions {
        clamp_mtime_seconds,
    };
    let directories = store.layers().directories(layer);
    let sink = Stoppable {
        inner: sink,
        is_stopped,
        // So that it asks before the first byte.
        unasked_bytes: ASK_AFTER_BYTES,
    };
    let captured = capture_union(&directories, store.whiteout_format(), sink, &options);
    captured
        .map(drop)
        .map_err(|source| capture_error(layer, source))
}

fn capture_error(
    layer: &LayerId,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Capture {
        layer: layer.to_string(),
        source: source.into(),
    }
}

/// Returns the blob of a layer: it is in the store when this returns.
///
/// A layer that was pulled keeps the blob that it was pulled as, however compressed; one
/// that was built is compressed as asked, once for all images and processes.
/// Errors: [`Error::ArchiveMissing`] for a pulled layer whose blob was not kept.
pub fn ensure_blob(
    store: &Store,
    layer: &ImageLayer,
    compression: Compression,
) -> Result<Descriptor> {
    ensure_blob_told(store, layer, compression, &|_| ())
}

/// As [`ensure_blob`]; tells `begun` of the blob as soon as it is being made.
pub(crate) fn ensure_blob_told(
    store: &Store,
    layer: &ImageLayer,
    compression: Compression,
    begun: Begun<'_>,
) -> Result<Descriptor> {
    let making = Making {
        compression,
        is_stopped: &|| false,
        begun,
    };
    ensure(store, layer, making)
}

/// How a blob is made.
#[derive(Clone, Copy)]
struct Making<'a> {
    compression: Compression,
    is_stopped: Stop<'a>,
    begun: Begun<'a>,
}

fn ensure(store: &Store, layer: &ImageLayer, making: Making<'_>) -> Result<Descriptor> {
    let compression = making.compression;
    if let Some(descriptor) = existing(store, layer, compression)? {
        return Ok(descriptor);
    }
    let name = compression.to_string();
    let lock = format!("compress {} {name}", layer.diff_id.0);
    let _lock = store.lock_key(&lock, |_| Patience::Wait)?;
    match existing(store, layer, compression)? {
        Some(descriptor) => Ok(descriptor),
        None => compress(store, layer, making),
    }
}

/// Returns a blob of the layer that is in the store and will do.
fn existing(
    store: &Store,
    layer: &ImageLayer,
    compression: Compression,
) -> Result<Option<Descriptor>> {
    // One that is not here as files has no other form than the one that is described.
    let is_packed = layer.descriptor.digest != layer.diff_id.0 || layer.layer.is_none();
    let candidates = [
        is_packed.then(|| layer.descriptor.clone()),
        pulled(store, &layer.diff_id)?,
        store
            .compressed()
            .get(&layer.diff_id, &compression.to_string())?,
    ];
    let is_here = |one: &Descriptor| {
        store
            .blobs()
            .size(&one.digest)
            .is_ok_and(|size| size == one.size)
    };
    Ok(candidates.into_iter().flatten().find(is_here))
}

fn compress(store: &Store, layer: &ImageLayer, making: Making<'_>) -> Result<Descriptor> {
    let missing = || Error::ArchiveMissing(layer.diff_id.clone());
    let id = layer.layer.as_ref().ok_or_else(missing)?;
    let clamp_mtime_seconds = match facts_of(store, id, &layer.diff_id)? {
        Some(facts) => match facts.origin {
            LayerOrigin::Captured {
                clamp_mtime_seconds,
            } => clamp_mtime_seconds,
            LayerOrigin::Unpacked { .. } => return Err(missing()),
        },
        // Whether the layer still has that archive is seen when it has been written.
        None => None,
    };
    let (writer, blob) = write_blob(store, id, clamp_mtime_seconds, making)?;
    if blob.diff_id != layer.diff_id {
        let (expected, found) = (layer.diff_id.clone(), blob.diff_id.0);
        return Err(Error::LayerChanged {
            layer: id.to_string(),
            expected,
            found,
        });
    }
    keep_blob(store, writer, &blob, making.compression)
}

/// Reads, hashes and compresses a layer in one pass.
fn write_blob(
    store: &Store,
    layer: &LayerId,
    clamp_mtime_seconds: Option<i64>,
    making: Making<'_>,
) -> Result<(LayerBlobWriter, LayerBlob)> {
    let writer = store.blobs().ingest_hashed()?;
    let path = writer.path();
    let writer = LayerBlobWriter::new(writer, making.begun);
    let mut writer = writer.map_err(|error| Failure::Write(error).into_error(&path))?;
    let produce = |sink: &mut dyn Write| {
        let captured = capture_layer(store, layer, clamp_mtime_seconds, making.is_stopped, sink);
        captured.map_err(Failure::Capture)
    };
    let written = write_layer_blob(produce, making.compression, &mut writer);
    let (blob, ()) = written.map_err(|failure| failure.into_error(&path))?;
    Ok((writer, blob))
}

fn keep_blob(
    store: &Store,
    writer: LayerBlobWriter,
    blob: &LayerBlob,
    compression: Compression,
) -> Result<Descriptor> {
    let descriptor = blob.descriptor(MediaFamily::Oci);
    writer.commit(&descriptor)?;
    store
        .compressed()
        .put(&blob.diff_id, &compression.to_string(), &descriptor)?;
    Ok(descriptor)
}

/// What ends the making of a blob: reading the layer, or writing the blob.
enum Failure {
    Capture(Error),
    Write(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl Failure {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Capture(error) => error,
            Self::Write(source) => kiln_disk::Error::Io {
                action: "write",
                path: path.to_owned(),
                source,
            }
            .into(),
        }
    }
}

/// Returns the time, in seconds since 1970; 0 before that.
pub(crate) fn now_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
