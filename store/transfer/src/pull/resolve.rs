//! From a name to a manifest and a configuration.

use std::io::Read;

use kiln_disk::Store;
use kiln_oci::{
    Descriptor, Digest, Document, ImageConfig, Index, MAX_DOCUMENT_BYTES, Manifest, Platform,
    Reference, check_layer_counts,
};
use kiln_registry::{Client, FetchedDocument};

use super::error::{PullError, Result};

/// Whether the registry is asked for an image that the store knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Only if the store does not have the name for the platform.
    #[default]
    Missing,
    /// Always: the tag may have moved.
    Always,
    /// Never: the image was brought into the store from elsewhere.
    Never,
}

/// An image of which everything is known but its files.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The name that was resolved.
    pub reference: Reference,
    /// What the name leads to: the index if there is one, else the manifest.
    pub target: Descriptor,
    /// The manifest, with the platform.
    pub manifest_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// Whether the name led here in the store, without the registry.
    pub is_local: bool,
    /// Under which policy it was resolved: [`PullPolicy::Never`] says that no registry need have
    /// it under its name.
    pub policy: PullPolicy,
}

impl ResolvedImage {
    /// Returns the digest that pins the image: that of the manifest.
    pub fn digest(&self) -> &Digest {
        &self.manifest_descriptor.digest
    }
}

/// Returns what `reference` is for `platform`; manifest and configuration are stored.
///
/// A digest in `reference` that the store has is taken from there under either policy.
pub fn resolve(
    store: &Store,
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    policy: PullPolicy,
) -> Result<ResolvedImage> {
    let resolver = Resolver {
        store,
        client,
        reference,
        platform,
        policy,
    };
    if let Some(image) = resolver.local(policy)? {
        return Ok(image);
    }
    if policy == PullPolicy::Never {
        return Err(PullError::NoImage {
            image: resolver.name(),
            reason: "the store does not have it".to_owned(),
        });
    }
    let fetched = client
        .resolve(reference)
        .map_err(|source| resolver.registry(source))?;
    resolver.keep(&fetched)?;
    resolver.follow(fetched.descriptor, fetched.document, false)
}

struct Resolver<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    platform: &'a Platform,
    policy: PullPolicy,
}

impl Resolver<'_> {
    fn name(&self) -> String {
        self.reference.familiar()
    }

    fn registry(&self, source: kiln_registry::Error) -> PullError {
        PullError::Registry {
            image: self.name(),
            source: Box::new(source),
        }
    }

    fn keep(&self, fetched: &FetchedDocument) -> Result<()> {
        keep(self.store, &fetched.descriptor, &fetched.bytes)
    }

    /// Returns the image if the store leads from the name to an image for the platform.
    fn local(&self, policy: PullPolicy) -> Result<Option<ResolvedImage>> {
        let target = match (self.reference.digest(), policy) {
            (Some(digest), _) => self.stored_descriptor(digest)?,
            (None, PullPolicy::Always) => None,
            (None, PullPolicy::Missing | PullPolicy::Never) => self
                .store
                .images()
                .get(self.reference)?
                .map(|image| image.target),
        };
        let Some(target) = target else {
            return Ok(None);
        };
        let Some(document) = self.stored(&target)? else {
            return Ok(None);
        };
        // A manifest that stands alone is for one platform; the name may have others elsewhere.
        let stands_alone = matches!(document, Document::Manifest(_));
        match self.follow(target, document, true) {
            Ok(image) if stands_alone && !self.fits(&image) && policy == PullPolicy::Missing => {
                Ok(None)
            }
            Ok(image) => Ok(Some(image)),
            // The store lacks a part, or that platform: the registry may have it.
            Err(PullError::PlatformMissing { .. } | PullError::Registry { .. })
                if policy != PullPolicy::Never =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn fits(&self, image: &ResolvedImage) -> bool {
        let Some(offered) = &image.manifest_descriptor.platform else {
            return false;
        };
        self.platform.matches(offered)
    }

    fn stored_descriptor(&self, digest: &Digest) -> Result<Option<Descriptor>> {
        if !self.store.blobs().has(digest) {
            return Ok(None);
        }
        let blobs = self.store.blobs();
        let Some(bytes) = blobs.read_if_sound(digest, MAX_DOCUMENT_BYTES as u64)? else {
            return Ok(None);
        };
        let document = self.parse(digest, &bytes, None)?;
        let media_type = document.media_type().clone();
        Ok(Some(Descriptor::new(
            media_type,
            digest.clone(),
            bytes.len() as u64,
        )))
    }

    fn stored(&self, descriptor: &Descriptor) -> Result<Option<Document>> {
        if !self.store.blobs().has(&descriptor.digest) {
            return Ok(None);
        }
        let blobs = self.store.blobs();
        let read = blobs.read_if_sound(&descriptor.digest, MAX_DOCUMENT_BYTES as u64)?;
        let Some(bytes) = read else { return Ok(None) };
        let media_type = Some(descriptor.media_type.as_str());
        self.parse(&descriptor.digest, &bytes, media_type).map(Some)
    }

    fn parse(&self, digest: &Digest, bytes: &[u8], media_type: Option<&str>) -> Result<Document> {
        Document::parse(bytes, media_type).map_err(|source| PullError::Document {
            image: self.name(),
            digest: digest.clone(),
            source,
        })
    }

    /// Goes from `document` to the manifest for the platform and its configuration.
    fn follow(
        &self,
        target: Descriptor,
        document: Document,
        is_local: bool,
    ) -> Result<ResolvedImage> {
        let (mut manifest_descriptor, manifest) = match document {
            Document::Manifest(manifest) => (target.clone(), manifest),
            Document::Index(index) => self.select(&index)?,
        };
        let config = self.config(&manifest_descriptor, &manifest)?;
        manifest_descriptor.platform = Some(config.platform());
        let reference = self.reference.clone();
        Ok(ResolvedImage {
            reference,
            target,
            manifest_descriptor,
            manifest,
            config,
            is_local,
            policy: self.policy,
        })
    }

    fn select(&self, index: &Index) -> Result<(Descriptor, Manifest)> {
        let entry = index
            .select(self.platform)
            .ok_or_else(|| PullError::PlatformMissing {
                image: self.name(),
                platform: Box::new(self.platform.clone()),
                offered: index
                    .manifests
                    .iter()
                    .filter_map(|entry| entry.platform.clone())
                    .collect(),
            })?;
        let document = match self.stored(entry)? {
            Some(document) => document,
            None => {
                let fetched = self.client.manifest(self.reference, &entry.digest);
                let fetched = fetched.map_err(|source| self.registry(source))?;
                self.check_entry(entry, &fetched.descriptor)?;
                self.keep(&fetched)?;
                fetched.document
            }
        };
        match document {
            Document::Manifest(manifest) => Ok((entry.clone(), manifest)),
            Document::Index(_) => Err(PullError::NoImage {
                image: self.name(),
                reason: format!("its index leads to another index, {}", entry.digest),
            }),
        }
    }

    fn check_entry(&self, entry: &Descriptor, found: &Descriptor) -> Result<()> {
        let (what, found, expected) = if entry.size != found.size {
            ("size", found.size.to_string(), entry.size.to_string())
        } else if entry.media_type != found.media_type {
            (
                "media type",
                found.media_type.to_string(),
                entry.media_type.to_string(),
            )
        } else {
            return Ok(());
        };
        let (image, digest) = (self.name(), entry.digest.clone());
        Err(PullError::IndexDisagrees {
            image,
            digest,
            what,
            found,
            expected,
        })
    }

    fn config(&self, descriptor: &Descriptor, manifest: &Manifest) -> Result<ImageConfig> {
        if !manifest.is_image() {
            let reason = format!("its configuration is `{}`", manifest.config.media_type);
            return Err(PullError::NoImage {
                image: self.name(),
                reason,
            });
        }
        let bytes = self.config_bytes(&manifest.config)?;
        let config = ImageConfig::parse(&bytes).map_err(|source| PullError::Config {
            image: self.name(),
            digest: manifest.config.digest.clone(),
            source,
        })?;
        check_layer_counts(manifest, &config).map_err(|source| PullError::Document {
            image: self.name(),
            digest: descriptor.digest.clone(),
            source,
        })?;
        Ok(config)
    }

    fn config_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let blobs = self.store.blobs();
        if blobs.has(&descriptor.digest)
            && let Some(bytes) =
                blobs.read_if_sound(&descriptor.digest, MAX_DOCUMENT_BYTES as u64)?
        {
            return Ok(bytes);
        }
        if descriptor.size > MAX_DOCUMENT_BYTES as u64 {
            let reason = format!(
                "its configuration of {} bytes is larger than {MAX_DOCUMENT_BYTES} bytes",
                descriptor.size
            );
            return Err(PullError::NoImage {
                image: self.name(),
                reason,
            });
        }
        let mut reader = self
            .client
            .blob(self.reference, descriptor)
            .map_err(|source| self.registry(source))?;
        let mut bytes = Vec::new();
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| PullError::reading(&self.name(), error, &descriptor.digest))?;
        keep(self.store, descriptor, &bytes)?;
        Ok(bytes)
    }
}

/// Stores bytes under the digest they are known by.
fn keep(store: &Store, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    if store
        .blobs()
        .size(&descriptor.digest)
        .is_ok_and(|size| size == bytes.len() as u64)
    {
        return Ok(());
    }
    let mut writer = store.blobs().ingest()?;
    let path = writer.path();
    writer
        .write_all(bytes)
        .map_err(|source| kiln_disk::Error::Io {
            action: "write",
            path,
            source,
        })?;
    writer.commit(Some((&descriptor.digest, bytes.len() as u64)))?;
    Ok(())
}
