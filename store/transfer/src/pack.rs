//! An image made ready to leave: all blobs compressed, a manifest that names them.

use std::collections::{BTreeMap, BTreeSet};

use kiln_disk::Store;
use kiln_layer::compress::Compression;
use kiln_oci::{
    AnnotationLevel, Annotations, Descriptor, DiffId, Digest, Document, Index, MAX_DOCUMENT_BYTES,
    Manifest, MediaFamily, MediaKind,
};

use crate::error::{Error, Result};
use crate::growing::GrowingLayer;
use crate::image::{Image, Listing, in_family};
use crate::{json, layers};

/// How images are made ready to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    /// How layers that were built are compressed; pulled ones stay as they are.
    pub compression: Compression,
    /// Whose media types are used.
    pub family: MediaFamily,
    /// What to do about layers whose blobs are not here.
    pub absent: Absent,
    /// When there is an index.
    pub listing: Listing,
    /// What is annotated besides what the manifests say already.
    pub annotations: Annotations,
    /// The index that the store has of the images: it goes as it is if it still lists them.
    pub index: Option<StoredIndex>,
    /// Layers that the receiver has: they are described, whether their blobs are here or not.
    pub receiver_has: BTreeSet<DiffId>,
}

/// An index, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIndex {
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The digests of the manifests that it lists.
    pub manifests: Vec<Digest>,
}

impl StoredIndex {
    /// Returns the index that `target` is; none if it is the manifest of a single image.
    pub fn read(store: &Store, target: &Descriptor) -> Result<Option<Self>> {
        if target.media_type.kind() != MediaKind::Index {
            return Ok(None);
        }
        let digest = &target.digest;
        let bytes = store.blobs().read(digest, MAX_DOCUMENT_BYTES as u64)?;
        let media_type = Some(target.media_type.as_str());
        let document = Document::parse(&bytes, media_type).map_err(|source| Error::Document {
            digest: digest.clone(),
            source,
        })?;
        let Document::Index(index) = document else {
            return Ok(None);
        };
        let entries = index.manifests.into_iter();
        Ok(Some(Self {
            descriptor: target.clone(),
            manifests: entries.map(|entry| entry.digest).collect(),
            bytes,
        }))
    }

    /// Whether it is what would be made of `images` anew, apart from the order of its keys.
    fn lists(&self, images: &[PackedImage], packing: &Packing) -> bool {
        let digests = images.iter().map(|image| &image.manifest.digest);
        let is_of_family = self.descriptor.media_type.family() == Some(packing.family);
        is_of_family && self.manifests.iter().eq(digests)
    }
}

/// What to do about the layers of a pulled base whose blobs were not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Fail: whoever gets the image needs all of it.
    Refuse,
    /// Describe them as they were pulled: the receiver may have them.
    Describe,
}

impl Packing {
    /// Returns gzip and OCI media types, with all blobs: what is understood everywhere.
    pub fn standard() -> Self {
        Self {
            compression: Compression::GZIP,
            family: MediaFamily::Oci,
            absent: Absent::Refuse,
            listing: Listing::Several,
            annotations: Annotations::default(),
            index: None,
            receiver_has: BTreeSet::new(),
        }
    }
}

/// A step of making images ready and writing them, for those who show progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A layer is being compressed, or its blob found.
    Packing(DiffId),
    /// It is being compressed: whoever wants the blob may have what is there of it.
    Growing(GrowingLayer),
    /// A layer's blob is ready.
    Packed(Descriptor),
    /// A blob is being written to the target.
    Writing(Descriptor),
    /// A manifest is complete.
    Manifest(Descriptor),
}

/// Who is told of the progress.
pub type Observer<'a> = &'a dyn Fn(Progress);

/// An image that is ready to leave.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedImage {
    /// The descriptor of the manifest, with the platform.
    pub manifest: Descriptor,
    /// The manifest.
    pub manifest_bytes: Vec<u8>,
    /// The descriptor of the configuration.
    pub config: Descriptor,
    /// The configuration.
    pub config_bytes: Vec<u8>,
    /// The descriptors of the layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<DiffId>,
}

/// Makes `image` ready; its layers' blobs are in the store then, except absent ones that may
/// be described. The manifest is not put into the store.
pub fn pack(
    store: &Store,
    image: &Image,
    packing: &Packing,
    observe: Observer<'_>,
) -> Result<PackedImage> {
    let mut descriptors = Vec::with_capacity(image.layers.len());
    for layer in &image.layers {
        observe(Progress::Packing(layer.diff_id.clone()));
        if packing.receiver_has.contains(&layer.diff_id) {
            descriptors.push(in_family(&layer.descriptor, packing.family));
            continue;
        }
        let begun = |blob| observe(Progress::Growing(blob));
        let found = layers::ensure_blob_told(store, layer, packing.compression, &begun);
        let descriptor = match found {
            Err(crate::Error::ArchiveMissing(_)) if packing.absent == Absent::Describe => {
                layer.descriptor.clone()
            }
            other => other?,
        };
        let descriptor = in_family(&descriptor, packing.family);
        observe(Progress::Packed(descriptor.clone()));
        descriptors.push(descriptor);
    }
    let config_bytes = store.blobs().read(
        &image.config_descriptor.digest,
        kiln_oci::MAX_DOCUMENT_BYTES as u64,
    )?;
    let packed = match original(store, image, packing, &descriptors)? {
        Some(bytes) => as_it_is(image, packing, bytes, config_bytes, descriptors),
        None => describe(image, packing, config_bytes, descriptors),
    };
    observe(Progress::Manifest(packed.manifest.clone()));
    Ok(packed)
}

/// Returns the manifest that the store has of `image`, if it says all that one made anew would:
/// then the image keeps its digest.
fn original(
    store: &Store,
    image: &Image,
    packing: &Packing,
    layers: &[Descriptor],
) -> Result<Option<Vec<u8>>> {
    let is_same = |one: &Descriptor, other: &Descriptor| {
        one.digest == other.digest && one.media_type == other.media_type && one.size == other.size
    };
    let known = image.layers.iter().map(|layer| &layer.descriptor);
    let is_kept = known.len() == layers.len()
        && known.zip(layers).all(|(one, other)| is_same(one, other))
        && image.manifest.media_type.family() == Some(packing.family)
        && image.config_descriptor.media_type.family() == Some(packing.family);
    let added = packing
        .annotations
        .at(AnnotationLevel::Manifest, &image.platform);
    if !is_kept || !added.is_empty() {
        return Ok(None);
    }
    let digest = &image.manifest.digest;
    let bytes = store.blobs().read(digest, MAX_DOCUMENT_BYTES as u64)?;
    Ok(Some(bytes))
}

fn as_it_is(
    image: &Image,
    packing: &Packing,
    manifest_bytes: Vec<u8>,
    config_bytes: Vec<u8>,
    layers: Vec<Descriptor>,
) -> PackedImage {
    let mut manifest = Descriptor {
        platform: Some(image.platform.clone()),
        ..image.manifest.clone()
    };
    manifest.annotations = annotated(image, packing, AnnotationLevel::ManifestDescriptor);
    let diff_ids = image.layers.iter().map(|layer| layer.diff_id.clone());
    PackedImage {
        manifest,
        manifest_bytes,
        config: image.config_descriptor.clone(),
        config_bytes,
        layers,
        diff_ids: diff_ids.collect(),
    }
}

fn describe(
    image: &Image,
    packing: &Packing,
    config_bytes: Vec<u8>,
    layers: Vec<Descriptor>,
) -> PackedImage {
    let family = packing.family;
    let config = in_family(&image.config_descriptor, family);
    let mut manifest = Manifest::new(family, config.clone(), layers.clone());
    manifest.annotations = annotated(image, packing, AnnotationLevel::Manifest);
    let manifest_bytes = json::indented(&manifest);
    let mut descriptor = Descriptor::of_bytes(manifest.media_type, &manifest_bytes);
    descriptor.platform = Some(image.platform.clone());
    descriptor.annotations = annotated(image, packing, AnnotationLevel::ManifestDescriptor);
    PackedImage {
        manifest: descriptor,
        manifest_bytes,
        config,
        config_bytes,
        layers,
        diff_ids: image
            .layers
            .iter()
            .map(|layer| layer.diff_id.clone())
            .collect(),
    }
}

/// Returns what the image says at `level` and what is added to it. Docker's documents have no
/// annotations.
fn annotated(image: &Image, packing: &Packing, level: AnnotationLevel) -> BTreeMap<String, String> {
    if packing.family == MediaFamily::Docker {
        return BTreeMap::new();
    }
    let mut annotations = match level {
        AnnotationLevel::Manifest => image.annotations.clone(),
        _ => image.manifest.annotations.clone(),
    };
    annotations.extend(packing.annotations.at(level, &image.platform));
    annotations
}

/// Returns the index of images that were packed so, with its descriptor; `None` where they
/// need none.
pub fn pack_index(images: &[PackedImage], packing: &Packing) -> Option<(Descriptor, Vec<u8>)> {
    if packing.listing.is_plain(images.len()) {
        return None;
    }
    let stored = packing.index.as_ref();
    if let Some(stored) = stored.filter(|stored| stored.lists(images, packing)) {
        return Some((stored.descriptor.clone(), stored.bytes.clone()));
    }
    let family = packing.family;
    let manifests = images.iter().map(|image| image.manifest.clone()).collect();
    let mut index = Index::new(family, manifests);
    let mut descriptor_annotations = BTreeMap::new();
    if family == MediaFamily::Oci {
        let annotations = &packing.annotations;
        index.annotations = annotations.at_index(AnnotationLevel::Index);
        descriptor_annotations = annotations.at_index(AnnotationLevel::IndexDescriptor);
    }
    let bytes = json::indented(&index);
    let mut descriptor = Descriptor::of_bytes(index.media_type, &bytes);
    descriptor.annotations = descriptor_annotations;
    Some((descriptor, bytes))
}
