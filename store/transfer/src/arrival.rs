//! Layers that come from somewhere else than an image's registry: a blob brought into the
//! store and unpacked, with everything checked before the layer gets its shared name.

use std::io::{self, Read, Write};

use kiln_disk::{ActiveLayer, At, LayerFacts, LayerId, LayerOrigin, Patience, Store};
use kiln_layer::ahead::read_ahead;
use kiln_layer::archive::{Below, UnpackOptions, UnpackSummary, unpack};
use kiln_layer::compress::{ArchiveCompression, decompressor};
use kiln_layer::tree::Tree;
use kiln_oci::{ChainId, Descriptor, DiffId, Digest, LayerEncoding, MediaKind, Reference};

use crate::error::{Error, Result};
use crate::expansion::{Counted, Counter, Expanding};
use crate::layers::PULLED;

/// The name under which the index of compressed layers has where a layer was pulled from.
const SOURCE: &str = "source";
/// The annotation that holds the repository.
const SOURCE_ANNOTATION: &str = "kiln.source";

/// A layer whose blob lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    /// The digest of its uncompressed archive.
    pub diff_id: DiffId,
    /// What it is called with all that lies below it.
    pub chain_id: ChainId,
    /// Its blob.
    pub descriptor: Descriptor,
    /// When it was made, in seconds since 1970.
    pub created_seconds: i64,
}

/// Brings a blob into the store, unless it is there. `open` reads it from its beginning.
///
/// Errors: [`Error::Arrival`], also when it is not the blob that was asked for.
pub fn bring_blob(
    store: &Store,
    descriptor: &Descriptor,
    open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
) -> Result<()> {
    let digest = &descriptor.digest;
    let is_here = || {
        let size = store.blobs().size(digest);
        size.is_ok_and(|size| size == descriptor.size)
    };
    if is_here() {
        return Ok(());
    }
    let _lock = store.lock_key(&format!("blob {digest}"), |_| Patience::Wait)?;
    if is_here() {
        return Ok(());
    }
    copy_blob(store, descriptor, open).map_err(|source| Error::Arrival {
        digest: digest.clone(),
        source,
    })
}

fn copy_blob(
    store: &Store,
    descriptor: &Descriptor,
    open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut writer = store.blobs().ingest()?;
    // One byte more shows a blob that is too long, however long it is.
    let mut input = open()?.take(descriptor.size.saturating_add(1));
    io::copy(&mut input, &mut writer)?;
    writer.flush()?;
    writer.commit(Some((&descriptor.digest, descriptor.size)))?;
    Ok(())
}

/// Unpacks a layer whose blob is in the store over the layers `lowers`, bottom first, as
/// layer `id`; returns the name that it got.
///
/// The layer is on disk and known by its chain ID when this returns.
pub fn unpack_blob(
    store: &Store,
    lowers: &[LayerId],
    layer: &Arriving,
    id: LayerId,
) -> Result<LayerId> {
    let failure = |source: Box<dyn std::error::Error + Send + Sync>| Error::Arrival {
        digest: layer.descriptor.digest.clone(),
        source,
    };
    let MediaKind::Layer(encoding) = layer.descriptor.media_type.kind() else {
        let type_ = &layer.descriptor.media_type;
        return Err(failure(format!("`{type_}` is no type of a layer").into()));
    };
    let input = store.blobs().open(&layer.descriptor.digest)?;
    let unpacked = unpack_archive(store, Lowers::Known(lowers), input, encoding)?;
    if unpacked.applied.is_err() || unpacked.found != layer.diff_id.0 {
        // Not the archive's fault if the blob is not what came in.
        store.blobs().check(&layer.descriptor.digest)?;
    }
    unpacked.applied.map_err(failure)?;
    if unpacked.found != layer.diff_id.0 {
        let (expected, found) = (&layer.diff_id.0, &unpacked.found);
        let text = format!("its archive has digest {found}, expected {expected}");
        return Err(failure(text.into()));
    }
    let id = unpacked.active.commit(id)?;
    remember(store, layer, &id, lowers, unpacked.uncompressed_size)?;
    store.sync()?;
    store.chains().set(&layer.chain_id, &id)?;
    Ok(id)
}

fn remember(
    store: &Store,
    layer: &Arriving,
    id: &LayerId,
    lowers: &[LayerId],
    uncompressed_size: u64,
) -> Result<()> {
    let origin = LayerOrigin::unpacked(lowers);
    let facts = LayerFacts {
        diff_id: layer.diff_id.clone(),
        uncompressed_size,
        origin,
        created_seconds: layer.created_seconds,
    };
    store.layers().set_facts(id, &facts)?;
    let compressed = store.compressed();
    Ok(compressed.put(&layer.diff_id, PULLED, &layer.descriptor)?)
}

/// Remembers that the layer's blob is in the repository of `source`: a push may take it there.
pub fn set_source(
    store: &Store,
    diff_id: &DiffId,
    blob: &Descriptor,
    source: &Reference,
) -> Result<()> {
    let mut descriptor = blob.clone();
    let annotations = &mut descriptor.annotations;
    annotations.insert(SOURCE_ANNOTATION.to_owned(), source.name());
    Ok(store.compressed().put(diff_id, SOURCE, &descriptor)?)
}

/// Returns the repository that a layer was pulled from, if it was pulled: a registry may
/// take the blob from there instead of from us.
pub fn source_of(
    store: &Store,
    diff_id: &DiffId,
) -> kiln_disk::Result<Option<(Reference, Descriptor)>> {
    let Some(mut descriptor) = store.compressed().get(diff_id, SOURCE)? else {
        return Ok(None);
    };
    let name = descriptor.annotations.remove(SOURCE_ANNOTATION);
    let reference = name.and_then(|name| name.parse().ok());
    Ok(reference.map(|reference| (reference, descriptor)))
}

/// Brings the blobs of those layers of `stack` that were pulled and have lost theirs, because
/// it was damaged or there was no room; `open` reads a blob where it was pulled from.
///
/// Errors: [`Error::Arrival`].
pub fn bring_archives(store: &Store, stack: &[LayerId], open: &OpenOrigin<'_>) -> Result<()> {
    for layer in stack {
        let Some(facts) = store.layers().facts(layer)? else {
            continue;
        };
        if !matches!(facts.origin, LayerOrigin::Unpacked { .. }) {
            continue;
        }
        let is_here = |blob: Descriptor| store.blobs().has(&blob.digest);
        if store
            .compressed()
            .get(&facts.diff_id, PULLED)?
            .is_some_and(is_here)
        {
            continue;
        }
        if let Some((source, blob)) = source_of(store, &facts.diff_id)? {
            bring_blob(store, &blob, &|| open(&source, &blob))?;
        }
    }
    Ok(())
}

/// Reads a blob in the repository of a name.
pub type OpenOrigin<'a> = dyn Fn(&Reference, &Descriptor) -> io::Result<Box<dyn Read + Send>> + 'a;

/// An archive that was read to its end, not yet committed.
#[derive(Debug)]
pub(crate) struct UnpackedArchive {
    pub active: ActiveLayer,
    /// Whether all of it could be applied.
    pub applied: Result<UnpackSummary, Box<dyn std::error::Error + Send + Sync>>,
    /// The digest of the uncompressed archive.
    pub found: Digest,
    pub uncompressed_size: u64,
}

/// The layers below one that is unpacked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lowers<'a> {
    /// Bottom first.
    Known(&'a [LayerId]),
    /// They are not here yet: where it matters what they hold, unpacking fails.
    Unknown,
}

/// Unpacks what `input` holds into a new layer over `lowers`.
pub(crate) fn unpack_archive(
    store: &Store,
    lowers: Lowers<'_>,
    input: impl Read + Send,
    encoding: LayerEncoding,
) -> Result<UnpackedArchive> {
    let active = store.layers().begin()?;
    let compression = ArchiveCompression::from(encoding);
    let read = Counter::default();
    let input = Counted {
        input,
        read: read.clone(),
    };
    let input = decompressor(compression, input).at("decompress into", &active.upper())?;
    let input = Expanding {
        input,
        read,
        produced: 0,
        ratio: store.limits().compression_ratio,
    };
    let (lowers, below) = match lowers {
        Lowers::Known(lowers) => (lowers, Below::Known),
        Lowers::Unknown => (&[][..], Below::Unknown),
    };
    let paths = lowers
        .iter()
        .flat_map(|layer| store.layers().directories(layer));
    let paths: Vec<_> = paths.collect();
    let options = UnpackOptions {
        below,
        ..store.layer_options()
    };
    let (applied, found, uncompressed_size) = read_ahead(input, |input| {
        let tree = Tree::open_for_write(&paths, &active.upper(), store.whiteout_format());
        Ok(unpack(input, &mut tree?, &options)?)
    });
    Ok(UnpackedArchive {
        active,
        applied,
        found,
        uncompressed_size,
    })
}
