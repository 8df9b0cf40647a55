//! A cache in a directory: an OCI image layout, as others keep theirs.
//!
//! Specification: OCI image-spec, image-layout.md.

use super::document::{Document, MEDIA_TYPE, media_type};
use super::registry::LARGEST_DOCUMENT_BYTES;
use super::{Backend, CacheError, LoadedCache, OpenBlob};
use kiln_oci::{
    Descriptor, Digest, Document as OciDocument, Index, MAX_DOCUMENT_BYTES, Manifest, MediaFamily,
    Reference,
};
use kiln_transfer::layout::{LayoutDirectory, is_named};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A cache in a layout.
pub(super) struct LayoutCache {
    layout: LayoutDirectory,
    tag: String,
    digest: Option<Digest>,
}

impl LayoutCache {
    pub fn new(path: PathBuf, tag: String, digest: Option<Digest>) -> Self {
        LayoutCache {
            layout: LayoutDirectory::new(path),
            tag,
            digest,
        }
    }

    /// Returns `index.json`; `None` if there is none.
    fn index(&self) -> Result<Option<Index>, CacheError> {
        let Some(bytes) = self.layout.index()? else {
            return Ok(None);
        };
        let malformed = |reason: &str| {
            let path = self.layout.path().display();
            CacheError::Malformed(format!("{path} is no image layout: {reason}"))
        };
        match OciDocument::parse(&bytes, None) {
            Ok(OciDocument::Index(index)) => Ok(Some(index)),
            Ok(OciDocument::Manifest(_)) => Err(malformed("its `index.json` is no index")),
            Err(error) => Err(malformed(&error.to_string())),
        }
    }

    /// Returns the descriptor of the cache's manifest.
    fn target(&self) -> Result<Descriptor, CacheError> {
        let index = self.index()?.ok_or(CacheError::Absent)?;
        let is_wanted = |one: &Descriptor| match &self.digest {
            Some(digest) => one.digest == *digest,
            None => is_named(one, &self.tag),
        };
        let found = index.manifests.into_iter().find(is_wanted);
        found.ok_or(CacheError::Absent)
    }

    /// Returns a document of the layout, checked against its digest.
    fn read(&self, digest: &Digest, most_bytes: u64) -> Result<Vec<u8>, CacheError> {
        let path = self.layout.blob_path(digest);
        let bytes = read_bounded(&path, most_bytes);
        let bytes = bytes.map_err(|source| file_error("read", &path, source))?;
        match Digest::of(digest.algorithm(), &bytes) == *digest {
            true => Ok(bytes),
            false => {
                let text = format!("{} has another digest", path.display());
                Err(CacheError::Malformed(text))
            }
        }
    }
}

impl Backend for LayoutCache {
    fn load(&self) -> Result<Vec<LoadedCache>, CacheError> {
        let target = self.target()?;
        let bytes = self.read(&target.digest, MAX_DOCUMENT_BYTES as u64)?;
        let parsed = OciDocument::parse(&bytes, Some(target.media_type.as_str()));
        let manifest = match parsed {
            Ok(OciDocument::Manifest(manifest)) if manifest.config.media_type == MEDIA_TYPE => {
                manifest
            }
            Ok(_) => return Err(CacheError::Malformed("it is no cache".to_owned())),
            Err(error) => return Err(CacheError::Malformed(error.to_string())),
        };
        let bytes = self.read(&manifest.config.digest, LARGEST_DOCUMENT_BYTES)?;
        let document = Document::decode(&bytes, manifest.layers.len())?;
        let layers = manifest.layers;
        Ok(vec![LoadedCache { document, layers }])
    }

    fn blob(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(
            self.layout.blob_path(&descriptor.digest),
        )?))
    }

    fn put_blob(
        &self,
        descriptor: &Descriptor,
        open: OpenBlob<'_>,
        _: Option<&Reference>,
    ) -> Result<(), CacheError> {
        if self.layout.has_blob(descriptor) {
            return Ok(());
        }
        let path = self.layout.blob_path(&descriptor.digest);
        let mut input = open().map_err(|source| file_error("read what goes to", &path, source))?;
        Ok(self.layout.write_blob(&descriptor.digest, &mut input)?)
    }

    fn publish(&self, document: &Document, layers: &[Descriptor]) -> Result<(), CacheError> {
        let bytes = document.encode();
        let config = Descriptor::of_bytes(media_type(), &bytes);
        self.layout.write_blob(&config.digest, &mut &bytes[..])?;
        let manifest = Manifest::new(MediaFamily::Oci, config, layers.to_vec());
        let bytes = manifest.to_bytes();
        let target = Descriptor::of_bytes(manifest.media_type, &bytes);
        self.layout.write_blob(&target.digest, &mut &bytes[..])?;
        let empty = || Index::new(MediaFamily::Oci, Vec::new());
        let index = self.index()?.unwrap_or_else(empty);
        Ok(self.layout.name(index, &self.tag, target)?)
    }
}

fn read_bounded(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(most_bytes + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most_bytes {
        true => Err(io::Error::other("it is too large")),
        false => Ok(bytes),
    }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> CacheError {
    CacheError::File {
        action,
        path: path.to_owned(),
        source,
    }
}
