//! A cache under a name in a registry: one of its own, or inline in an image.

use super::document::{Document, MEDIA_TYPE, media_type};
use super::{Backend, CacheError, INLINE_KEY, LoadedCache, OpenBlob};
use kiln_oci::{
    Descriptor, Document as OciDocument, ImageConfig, Index, Manifest, MediaFamily, Reference,
};
use kiln_registry::Client;
use std::io::{self, Cursor, Read};

/// The most bytes of a document, or of an image configuration with one.
pub(super) const LARGEST_DOCUMENT_BYTES: u64 = 64 << 20;

/// The most platforms of an image whose inline caches are read.
const MOST_PLATFORMS: usize = 16;

/// A cache in a registry.
pub(super) struct RegistryCache {
    client: Client,
    reference: Reference,
}

impl RegistryCache {
    pub fn new(client: Client, reference: Reference) -> Self {
        RegistryCache { client, reference }
    }

    fn load_manifest(&self, manifest: Manifest) -> Result<LoadedCache, CacheError> {
        let bytes = self.read(&manifest.config)?;
        let document = match manifest.config.media_type == MEDIA_TYPE {
            true => Document::decode(&bytes, manifest.layers.len())?,
            false => inline(&bytes, manifest.layers.len())?,
        };
        Ok(LoadedCache {
            document,
            layers: manifest.layers,
        })
    }

    /// The platforms of an image: each may have a cache inline. One that has none is no reason
    /// to do without the others.
    fn load_index(&self, index: &Index) -> Result<Vec<LoadedCache>, CacheError> {
        let images = index.manifests.iter().filter(|one| one.platform.is_some());
        let mut loaded = Vec::new();
        let mut failure = CacheError::Malformed("it is an index of no images".to_owned());
        for image in images.take(MOST_PLATFORMS) {
            let fetched = self.client.manifest(&self.reference, &image.digest)?;
            let OciDocument::Manifest(manifest) = fetched.document else {
                continue;
            };
            match self.load_manifest(manifest) {
                Ok(cache) => loaded.push(cache),
                Err(error) => failure = error,
            }
        }
        match loaded.is_empty() {
            true => Err(failure),
            false => Ok(loaded),
        }
    }

    fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, CacheError> {
        if descriptor.size > LARGEST_DOCUMENT_BYTES {
            let text = format!("its document has {} bytes", descriptor.size);
            return Err(CacheError::Malformed(text));
        }
        let mut bytes = Vec::new();
        let mut reader = self.client.blob(&self.reference, descriptor)?;
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| reading(error, descriptor))?;
        Ok(bytes)
    }
}

/// Returns the document in the image configuration `bytes`.
fn inline(bytes: &[u8], layer_count: usize) -> Result<Document, CacheError> {
    let config = ImageConfig::parse(bytes).map_err(|error| {
        CacheError::Malformed(format!("it is neither cache nor image: {error}"))
    })?;
    let Some(document) = config.extra.get(INLINE_KEY) else {
        let text = "it is an image without an inline cache";
        return Err(CacheError::Malformed(text.to_owned()));
    };
    Document::decode(document.to_string().as_bytes(), layer_count)
}

/// The registry's own error, where it is one.
fn reading(error: io::Error, descriptor: &Descriptor) -> CacheError {
    match error.downcast::<kiln_registry::Error>() {
        Ok(error) => error.into(),
        Err(error) => CacheError::Malformed(format!(
            "its document {} cannot be read: {error}",
            descriptor.digest
        )),
    }
}

impl Backend for RegistryCache {
    fn load(&self) -> Result<Vec<LoadedCache>, CacheError> {
        match self.client.resolve(&self.reference)?.document {
            OciDocument::Manifest(manifest) => Ok(vec![self.load_manifest(manifest)?]),
            OciDocument::Index(index) => self.load_index(&index),
        }
    }

    fn blob(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        let reader = self.client.blob(&self.reference, descriptor);
        Ok(Box::new(reader.map_err(io::Error::other)?))
    }

    fn put_blob(
        &self,
        descriptor: &Descriptor,
        open: OpenBlob<'_>,
        mount_from: Option<&Reference>,
    ) -> Result<(), CacheError> {
        let open = |position| kiln_registry::skipping(open()?, position);
        let pushed = self
            .client
            .push_blob(&self.reference, descriptor, open, mount_from);
        match pushed {
            Ok(_) => Ok(()),
            Err(error) => Err(CacheError::Registry(Box::new(error))),
        }
    }

    fn publish(&self, document: &Document, layers: &[Descriptor]) -> Result<(), CacheError> {
        let bytes = document.encode();
        let config = Descriptor::of_bytes(media_type(), &bytes);
        let open = || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
        self.put_blob(&config, &open, None)?;
        let manifest = Manifest::new(MediaFamily::Oci, config, layers.to_vec());
        let media_type = manifest.media_type.clone();
        let pushed = self
            .client
            .push_manifest(&self.reference, &media_type, &manifest.to_bytes());
        match pushed {
            Ok(_) => Ok(()),
            Err(error) => Err(CacheError::Registry(Box::new(error))),
        }
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }
}
