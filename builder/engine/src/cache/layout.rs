//! A cache in a directory: an OCI image layout, as others keep theirs.
//!
//! A cache that takes the place of another removes the blobs that only that one had. Who reads or
//! writes a cache holds a shared lock of its directory meanwhile; blobs are removed under the
//! exclusive one, and stay if somebody is in the way.
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
use rustix::fs::FlockOperation;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A cache in a layout.
pub(super) struct LayoutCache {
    layout: LayoutDirectory,
    tag: String,
    digest: Option<Digest>,
    /// The directory, locked as long as the cache is used.
    used: Mutex<Option<File>>,
}

impl LayoutCache {
    pub fn new(path: PathBuf, tag: String, digest: Option<Digest>) -> Self {
        LayoutCache {
            layout: LayoutDirectory::new(path),
            tag,
            digest,
            used: Mutex::default(),
        }
    }

    /// Takes the shared lock, where the directory is there and the file system has locks.
    fn begin_use(&self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.is_none() {
            *used = self.lock(FlockOperation::LockShared);
        }
    }

    fn end_use(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn lock(&self, operation: FlockOperation) -> Option<File> {
        let directory = File::open(self.layout.path()).ok()?;
        rustix::fs::flock(&directory, operation).ok()?;
        Some(directory)
    }

    /// Removes the blobs that `replaced` led to and nothing in the directory leads to now. What
    /// cannot be removed only takes room.
    fn remove_unnamed(&self, replaced: Descriptor) {
        let Some(_alone) = self.lock(FlockOperation::NonBlockingLockExclusive) else {
            return;
        };
        let Ok(Some(index)) = self.index() else {
            return;
        };
        let (kept, known) = (self.reach(index.manifests), self.reach(vec![replaced]));
        let (Some(kept), Some(known)) = (kept, known) else {
            return;
        };
        for digest in known.difference(&kept) {
            let _ = std::fs::remove_file(self.layout.blob_path(digest));
        }
    }

    /// Returns all that `pending` leads to; `None` if that is not known of something.
    fn reach(&self, mut pending: Vec<Descriptor>) -> Option<HashSet<Digest>> {
        let mut reached = HashSet::new();
        while let Some(next) = pending.pop() {
            if !reached.insert(next.digest.clone()) {
                continue;
            }
            let bytes = self.read(&next.digest, MAX_DOCUMENT_BYTES as u64).ok()?;
            match OciDocument::parse(&bytes, Some(next.media_type.as_str())).ok()? {
                OciDocument::Index(index) => pending.extend(index.manifests),
                OciDocument::Manifest(manifest) => {
                    reached.insert(manifest.config.digest);
                    reached.extend(manifest.layers.into_iter().map(|layer| layer.digest));
                }
            }
        }
        Some(reached)
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
        self.begin_use();
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
        self.begin_use();
        if self.layout.has_blob(descriptor) {
            return Ok(());
        }
        let path = self.layout.blob_path(&descriptor.digest);
        let mut input = open().map_err(|source| file_error("read what goes to", &path, source))?;
        self.layout.write_blob(&descriptor.digest, &mut input)?;
        // The first blob makes the directory.
        self.begin_use();
        Ok(())
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
        let named = index.manifests.iter();
        let replaced = named.filter(|one| is_named(one, &self.tag) && one.digest != target.digest);
        let replaced = replaced.last().cloned();
        self.layout.name(index, &self.tag, target)?;
        self.end_use();
        if let Some(replaced) = replaced {
            self.remove_unnamed(replaced);
        }
        Ok(())
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
