//! An image as the store has it: a manifest, a configuration and layers.
//!
//! Keeping an image costs no compression: the manifest in the store describes layers that
//! were built as plain archives, whose blobs need not exist. Layers of a pulled base keep
//! the descriptors they were pulled with. Compressed blobs are made when an image leaves.

use std::collections::BTreeMap;

use kiln_disk::{LayerFacts, LayerId, LayerOrigin, Store};
use kiln_oci::{
    AnnotationLevel, Annotations, Descriptor, DiffId, Document, ImageConfig, Index, LayerEncoding,
    Manifest, MediaFamily, MediaKind, MediaType, Platform, chain_ids, check_layer_counts,
};

use crate::error::{Error, Result};
use crate::{json, layers};

/// The most bytes a document may have.
const MAX_DOCUMENT_BYTES: u64 = kiln_oci::MAX_DOCUMENT_BYTES as u64;

/// An image in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its manifest, with the platform.
    pub manifest: Descriptor,
    /// The annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Its configuration.
    pub config: ImageConfig,
    /// The descriptor of the configuration.
    pub config_descriptor: Descriptor,
    /// Its layers, bottom first.
    pub layers: Vec<ImageLayer>,
    /// What it runs on.
    pub platform: Platform,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The layer's directory in the store, if it is there.
    pub layer: Option<LayerId>,
    /// The digest of the uncompressed archive.
    pub diff_id: DiffId,
    /// The layer as the manifest describes it; the store need not have the blob.
    pub descriptor: Descriptor,
}

/// Stores the image of `config` and the stack `stack`, bottom first, and returns it.
///
/// `config` names the layers of the base; the others are filled in, with times up to
/// `clamp_mtime_seconds`. Its history is taken as it is. Layers whose digests nobody has
/// computed yet are read ([`layers::facts`]).
pub fn assemble(
    store: &Store,
    config: ImageConfig,
    stack: &[LayerId],
    clamp_mtime_seconds: Option<i64>,
) -> Result<Image> {
    let base = config.rootfs.diff_ids.iter().map(Some);
    let layers = stack
        .iter()
        .zip(base.chain(std::iter::repeat(None)))
        .map(|(layer, known)| describe(store, layer, known, clamp_mtime_seconds))
        .collect::<Result<Vec<_>>>()?;
    assemble_layers(store, config, layers, &Annotations::default())
}

/// As [`assemble`], of layers that are described already: they need not be here.
pub fn assemble_layers(
    store: &Store,
    mut config: ImageConfig,
    layers: Vec<ImageLayer>,
    annotations: &Annotations,
) -> Result<Image> {
    let platform = platform_of(&config);
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let config_bytes = config.to_bytes();
    let media_type = MediaType::config(MediaFamily::Oci);
    let config_descriptor = Descriptor::of_bytes(media_type, &config_bytes);
    let descriptors = layers
        .iter()
        .map(|layer| layer.descriptor.clone())
        .collect();
    let mut manifest = Manifest::new(MediaFamily::Oci, config_descriptor.clone(), descriptors);
    manifest.annotations = annotations.at(AnnotationLevel::Manifest, &platform);
    let manifest_bytes = json::indented(&manifest);
    store.blobs().put_all(&[&config_bytes, &manifest_bytes])?;
    name_chains(store, &config.rootfs.diff_ids, &layers)?;
    let mut descriptor = Descriptor::of_bytes(manifest.media_type, &manifest_bytes);
    descriptor.platform = Some(platform.clone());
    descriptor.annotations = annotations.at(AnnotationLevel::ManifestDescriptor, &platform);
    Ok(Image {
        manifest: descriptor,
        annotations: manifest.annotations,
        config,
        config_descriptor,
        layers,
        platform,
    })
}

/// Returns the layer as an image of this store describes it. A layer of the base, `known`,
/// stays the archive that it is there.
pub fn describe(
    store: &Store,
    layer: &LayerId,
    known: Option<&DiffId>,
    clamp_mtime_seconds: Option<i64>,
) -> Result<ImageLayer> {
    let of_base = match known {
        Some(diff_id) => layers::facts_of(store, layer, diff_id)?,
        None => None,
    };
    let facts = match of_base {
        Some(facts) => facts,
        None => layers::facts(store, layer, clamp_mtime_seconds)?,
    };
    let descriptor = match facts.origin {
        LayerOrigin::Captured { .. } => plain_descriptor(&facts),
        LayerOrigin::Unpacked { .. } => match layers::pulled(store, &facts.diff_id)? {
            Some(descriptor) => in_family(&descriptor, MediaFamily::Oci),
            None => plain_descriptor(&facts),
        },
    };
    Ok(ImageLayer {
        layer: Some(layer.clone()),
        diff_id: facts.diff_id,
        descriptor,
    })
}

/// Makes the layers that are here findable by chain ID, for whoever loads or extends the image.
fn name_chains(store: &Store, diff_ids: &[DiffId], layers: &[ImageLayer]) -> Result<()> {
    let mut unnamed = Vec::new();
    let layers = layers.iter().map(|layer| layer.layer.as_ref());
    for (chain_id, layer) in chain_ids(diff_ids).into_iter().zip(layers) {
        let Some(layer) = layer else { continue };
        if store.chains().get(&chain_id)?.is_none() {
            unnamed.push((chain_id, layer));
        }
    }
    if unnamed.is_empty() {
        return Ok(());
    }
    // A chain never leads to a layer that is not on disk.
    store.sync()?;
    for (chain_id, layer) in unnamed {
        store.chains().set(&chain_id, layer)?;
    }
    Ok(())
}

/// Returns the descriptor of a layer's uncompressed archive.
fn plain_descriptor(facts: &LayerFacts) -> Descriptor {
    let media_type = MediaType::layer(MediaFamily::Oci, LayerEncoding::Tar);
    Descriptor::new(media_type, facts.diff_id.0.clone(), facts.uncompressed_size)
}

/// Returns `descriptor` with the media type that `family` has for the same thing.
pub fn in_family(descriptor: &Descriptor, family: MediaFamily) -> Descriptor {
    let media_type = match descriptor.media_type.kind() {
        MediaKind::Layer(encoding) => MediaType::layer(family, encoding),
        MediaKind::Config => MediaType::config(family),
        MediaKind::Manifest => MediaType::manifest(family),
        MediaKind::Index => MediaType::index(family),
        MediaKind::Other => descriptor.media_type.clone(),
    };
    Descriptor {
        media_type,
        ..descriptor.clone()
    }
}

/// Returns the platform that a configuration says.
pub fn platform_of(config: &ImageConfig) -> Platform {
    let platform = Platform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        os_features: config.os_features.clone(),
        variant: config.variant.clone(),
    };
    platform.normalized()
}

/// When images are listed in an index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listing {
    /// When there are several; a single one is its manifest.
    #[default]
    Several,
    /// Always.
    Always,
}

impl Listing {
    /// Returns how the images below `target`, a manifest or an index, are listed.
    pub fn of(target: &Descriptor) -> Self {
        match target.media_type.kind() {
            MediaKind::Index => Self::Always,
            _ => Self::Several,
        }
    }

    /// Returns whether `count` images need no index.
    pub(crate) fn is_plain(self, count: usize) -> bool {
        self == Self::Several && count == 1
    }
}

/// Stores an index of `images` and returns its descriptor; where they need none, that of the
/// single one's manifest.
pub fn index(
    store: &Store,
    images: &[Image],
    listing: Listing,
    annotations: &Annotations,
) -> Result<Descriptor> {
    if let ([image], true) = (images, listing.is_plain(images.len())) {
        return Ok(image.manifest.clone());
    }
    let manifests = images.iter().map(|image| image.manifest.clone()).collect();
    let mut index = Index::new(MediaFamily::Oci, manifests);
    index.annotations = annotations.at_index(AnnotationLevel::Index);
    let bytes = json::indented(&index);
    store.blobs().put(&bytes)?;
    Ok(Descriptor::of_bytes(index.media_type, &bytes))
}

/// Returns the image that `target` leads to: a manifest, or an index with one for `platform`.
///
/// Without a platform the host's is taken from an index.
pub fn load(store: &Store, target: &Descriptor, platform: Option<&Platform>) -> Result<Image> {
    match document(store, target)? {
        Document::Manifest(manifest) => load_manifest(store, target, &manifest),
        Document::Index(index) => {
            let platform = platform.cloned().unwrap_or_else(Platform::host);
            let missing = || Error::PlatformMissing {
                index: target.digest.clone(),
                platform: Box::new(platform.clone()),
            };
            let selected = index.select(&platform).ok_or_else(missing)?;
            match document(store, selected)? {
                Document::Manifest(manifest) => load_manifest(store, selected, &manifest),
                Document::Index(_) => Err(Error::NestedIndex(selected.digest.clone())),
            }
        }
    }
}

/// Returns all images that `target` leads to, in the order of its index.
pub fn load_all(store: &Store, target: &Descriptor) -> Result<Vec<Image>> {
    match document(store, target)? {
        Document::Manifest(manifest) => Ok(vec![load_manifest(store, target, &manifest)?]),
        Document::Index(index) => index
            .manifests
            .iter()
            .map(|entry| load(store, entry, entry.platform.as_ref()))
            .collect(),
    }
}

/// Returns the annotations that `target` has as an index of images.
pub fn index_annotations(store: &Store, target: &Descriptor) -> Result<Annotations> {
    match document(store, target)? {
        Document::Index(index) => Ok(Annotations::of_index(&index.annotations)),
        Document::Manifest(_) => Ok(Annotations::default()),
    }
}

fn document(store: &Store, descriptor: &Descriptor) -> Result<Document> {
    let digest = &descriptor.digest;
    let bytes = store.blobs().read(digest, MAX_DOCUMENT_BYTES)?;
    Document::parse(&bytes, Some(descriptor.media_type.as_str())).map_err(|source| {
        Error::Document {
            digest: digest.clone(),
            source,
        }
    })
}

fn load_manifest(store: &Store, target: &Descriptor, manifest: &Manifest) -> Result<Image> {
    let digest = &manifest.config.digest;
    let bytes = store.blobs().read(digest, MAX_DOCUMENT_BYTES)?;
    let config = ImageConfig::parse(&bytes).map_err(|source| Error::Config {
        digest: digest.clone(),
        source,
    })?;
    check_layer_counts(manifest, &config).map_err(|source| Error::Document {
        digest: target.digest.clone(),
        source,
    })?;
    let platform = platform_of(&config);
    Ok(Image {
        manifest: Descriptor {
            platform: Some(platform.clone()),
            ..target.clone()
        },
        annotations: manifest.annotations.clone(),
        layers: load_layers(store, manifest, &config)?,
        config,
        config_descriptor: manifest.config.clone(),
        platform,
    })
}

fn load_layers(
    store: &Store,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<Vec<ImageLayer>> {
    let diff_ids = &config.rootfs.diff_ids;
    let parts = diff_ids
        .iter()
        .zip(chain_ids(diff_ids))
        .zip(&manifest.layers);
    let layer = |((diff_id, chain_id), descriptor): ((&DiffId, _), &Descriptor)| {
        let layer = store.chains().get(&chain_id)?;
        Ok(ImageLayer {
            layer,
            diff_id: diff_id.clone(),
            descriptor: descriptor.clone(),
        })
    };
    parts.map(layer).collect()
}
