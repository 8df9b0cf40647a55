//! The places that images are copied between: registries, layouts, and stores of blobs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use kiln_disk::{At, Store};
use kiln_oci::{
    Algorithm, Descriptor, Digest, Document, Index, MAX_DOCUMENT_BYTES, MediaFamily, MediaType,
    Reference,
};
use kiln_registry::{Client, Pushed};
use sha2::{Digest as _, Sha256, Sha512};

use super::{Copied, CopyError, Fetched, Result, Source, Target, understood};
use crate::layout::{LayoutDirectory, REFERENCE_NAME, is_named};
use crate::layout_name::LayoutName;

/// An image of a registry.
pub struct RegistryPlace<'a> {
    /// The client.
    pub client: &'a Client,
    /// The image's name there.
    pub reference: Reference,
}

impl fmt::Display for RegistryPlace<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reference.familiar())
    }
}

impl Source for RegistryPlace<'_> {
    fn target(&self) -> Result<Fetched> {
        Ok(fetched(self.client.resolve(&self.reference)?))
    }

    fn document(&self, entry: &Descriptor) -> Result<Fetched> {
        let found = self.client.manifest(&self.reference, &entry.digest)?;
        let mut found = fetched(found);
        found.descriptor.platform = entry.platform.clone();
        found.descriptor.annotations = entry.annotations.clone();
        Ok(found)
    }

    fn open(&self, blob: &Descriptor, position: u64) -> io::Result<Box<dyn Read + Send>> {
        let reader = match position {
            0 => self.client.blob(&self.reference, blob),
            _ => self
                .client
                .blob_part(&self.reference, blob, position..blob.size),
        };
        Ok(Box::new(reader.map_err(io::Error::other)?))
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.client.referrers(&self.reference, subject)?)
    }
}

fn fetched(found: kiln_registry::FetchedDocument) -> Fetched {
    Fetched {
        descriptor: found.descriptor,
        bytes: found.bytes,
        document: found.document,
    }
}

impl Target for RegistryPlace<'_> {
    fn put_blob(&self, source: &dyn Source, blob: &Descriptor) -> Result<Copied> {
        let open = |position| source.open(blob, position);
        let from = source.repository();
        let pushed = self.client.push_blob(&self.reference, blob, open, from)?;
        Ok(match pushed {
            Pushed::Existed => Copied::Existed,
            Pushed::Mounted => Copied::Mounted,
            Pushed::Uploaded => Copied::Copied,
        })
    }

    fn put_document(&self, document: &Fetched) -> Result<()> {
        let digest = document.descriptor.digest.clone();
        self.put(&self.reference.with_digest(digest), document)
    }

    fn put_target(&self, document: &Fetched) -> Result<()> {
        self.put(&self.reference, document)
    }
}

impl RegistryPlace<'_> {
    fn put(&self, name: &Reference, document: &Fetched) -> Result<()> {
        let media_type = &document.descriptor.media_type;
        self.client
            .push_manifest(name, media_type, &document.bytes)?;
        Ok(())
    }
}

/// An image of an OCI layout in a directory.
pub struct LayoutPlace {
    /// The layout.
    pub layout: LayoutDirectory,
    /// The image's name there.
    pub named: LayoutName,
}

impl fmt::Display for LayoutPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.layout.path().display())
    }
}

impl LayoutPlace {
    fn index(&self) -> Result<Option<Index>> {
        let Some(bytes) = self.layout.index()? else {
            return Ok(None);
        };
        match Document::parse(&bytes, None) {
            Ok(Document::Index(index)) => Ok(Some(index)),
            Ok(Document::Manifest(_)) => Err(self.missing()),
            Err(source) => Err(CopyError::Document {
                place: self.to_string(),
                digest: Digest::sha256(&bytes),
                source,
            }),
        }
    }

    fn missing(&self) -> CopyError {
        CopyError::Missing {
            place: self.to_string(),
            wanted: self.named.to_string(),
        }
    }

    fn find(&self) -> Result<Descriptor> {
        let index = self.index()?.ok_or_else(|| self.missing())?;
        let entries = &index.manifests;
        if let Some(digest) = &self.named.digest {
            let listed = entries.iter().find(|entry| entry.digest == *digest);
            let unlisted = || {
                let size = std::fs::metadata(self.layout.blob_path(digest)).ok()?.len();
                Some(Descriptor::new(MediaType::from(""), digest.clone(), size))
            };
            let found = listed.cloned().or_else(unlisted);
            return found.ok_or_else(|| self.missing());
        }
        let name = self.named.name.as_deref();
        let named = entries
            .iter()
            .find(|entry| is_named(entry, name.unwrap_or("latest")));
        let images: Vec<_> = entries.iter().filter(|entry| !is_referrer(entry)).collect();
        match (named, name, images.as_slice()) {
            (Some(entry), _, _) => Ok(entry.clone()),
            (None, None, [entry]) => Ok((*entry).clone()),
            _ => Err(self.missing()),
        }
    }
}

impl Source for LayoutPlace {
    fn target(&self) -> Result<Fetched> {
        let mut entry = self.find()?;
        // What the layout says of its entry is no part of the image.
        entry.annotations.clear();
        self.document(&entry)
    }

    fn document(&self, entry: &Descriptor) -> Result<Fetched> {
        let path = self.layout.blob_path(&entry.digest);
        let bytes = read_small(&path)?;
        understood(self, entry, bytes)
    }

    fn open(&self, blob: &Descriptor, position: u64) -> io::Result<Box<dyn Read + Send>> {
        open_at(&self.layout.blob_path(&blob.digest), position)
    }

    /// Among what the layout lists: nothing else leads to them.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut referrers = Vec::new();
        for entry in self.index()?.into_iter().flat_map(|index| index.manifests) {
            let found = match self.document(&entry)?.document {
                Document::Manifest(manifest) => manifest.subject,
                Document::Index(_) => None,
            };
            if found.is_some_and(|found| found.digest == *subject) {
                referrers.push(entry);
            }
        }
        Ok(referrers)
    }
}

/// Whether an entry of a layout's index is there for what it refers to, not for itself.
fn is_referrer(entry: &Descriptor) -> bool {
    entry.artifact_type.is_some() && !entry.annotations.contains_key(REFERENCE_NAME)
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).at("open", path)?;
    let mut file = file.take(MAX_DOCUMENT_BYTES as u64 + 1);
    file.read_to_end(&mut bytes).at("read", path)?;
    Ok(bytes)
}

fn open_at(path: &Path, position: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(position))?;
    Ok(Box::new(file))
}

impl Target for LayoutPlace {
    fn put_blob(&self, source: &dyn Source, blob: &Descriptor) -> Result<Copied> {
        if self.layout.has_blob(blob) {
            return Ok(Copied::Existed);
        }
        let failed = |source| CopyError::Blob {
            digest: blob.digest.clone(),
            source,
        };
        let mut content = Checked::new(source.open(blob, 0).map_err(failed)?, blob);
        self.layout.write_blob(&blob.digest, &mut content)?;
        Ok(Copied::Copied)
    }

    fn put_document(&self, document: &Fetched) -> Result<()> {
        let digest = &document.descriptor.digest;
        Ok(self.layout.write_blob(digest, &mut &document.bytes[..])?)
    }

    fn put_referrer(&self, document: &Fetched) -> Result<()> {
        self.put_document(document)?;
        let index = self.index()?;
        let index = index.unwrap_or_else(|| Index::new(MediaFamily::Oci, Vec::new()));
        let mut entry = document.descriptor.clone();
        if let Document::Manifest(manifest) = &document.document {
            let kind = manifest.artifact_type.clone();
            let kind = kind.unwrap_or_else(|| manifest.config.media_type.to_string());
            entry.artifact_type = Some(kind);
        }
        Ok(self.layout.list(index, entry)?)
    }

    fn put_target(&self, document: &Fetched) -> Result<()> {
        self.put_document(document)?;
        let index = self.index()?;
        let index = index.unwrap_or_else(|| Index::new(MediaFamily::Oci, Vec::new()));
        let name = self.named.name.as_deref().unwrap_or("latest");
        Ok(self.layout.name(index, name, document.descriptor.clone())?)
    }
}

/// The blobs of a store, and one of the documents in it: an archive on its way.
pub struct StorePlace<'a> {
    /// The store.
    pub store: &'a Store,
    /// What it is called in messages.
    pub title: String,
    /// The document that it was named for, when it is copied from.
    pub target: Option<Descriptor>,
}

impl fmt::Display for StorePlace<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.title)
    }
}

impl Source for StorePlace<'_> {
    fn target(&self) -> Result<Fetched> {
        let missing = || CopyError::Missing {
            place: self.title.clone(),
            wanted: "at all".to_owned(),
        };
        self.document(self.target.as_ref().ok_or_else(missing)?)
    }

    fn document(&self, entry: &Descriptor) -> Result<Fetched> {
        let blobs = self.store.blobs();
        let bytes = blobs.read(&entry.digest, MAX_DOCUMENT_BYTES as u64)?;
        understood(self, entry, bytes)
    }

    fn open(&self, blob: &Descriptor, position: u64) -> io::Result<Box<dyn Read + Send>> {
        open_at(&self.store.blobs().path(&blob.digest), position)
    }
}

impl Target for StorePlace<'_> {
    fn put_blob(&self, source: &dyn Source, blob: &Descriptor) -> Result<Copied> {
        if self.store.blobs().has(&blob.digest) {
            return Ok(Copied::Existed);
        }
        let failed = |source| CopyError::Blob {
            digest: blob.digest.clone(),
            source,
        };
        let mut content = source.open(blob, 0).map_err(failed)?;
        let mut writer = self.store.blobs().ingest()?;
        io::copy(&mut content, &mut writer).map_err(failed)?;
        writer.commit(Some((&blob.digest, blob.size)))?;
        Ok(Copied::Copied)
    }

    fn put_document(&self, document: &Fetched) -> Result<()> {
        let mut writer = self.store.blobs().ingest()?;
        let path = writer.path();
        io::Write::write_all(&mut writer, &document.bytes).at("write", &path)?;
        let digest = &document.descriptor.digest;
        writer.commit(Some((digest, document.bytes.len() as u64)))?;
        Ok(())
    }

    fn put_target(&self, document: &Fetched) -> Result<()> {
        self.put_document(document)
    }
}

/// A blob that fails at its end unless it was the one that it should be.
struct Checked {
    inner: Box<dyn Read + Send>,
    hasher: Hasher,
    expected: Descriptor,
    read_bytes: u64,
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Checked {
    fn new(inner: Box<dyn Read + Send>, expected: &Descriptor) -> Self {
        let hasher = match expected.digest.algorithm() {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        };
        Self {
            inner,
            hasher,
            expected: expected.clone(),
            read_bytes: 0,
        }
    }

    fn check(&self) -> io::Result<()> {
        let found = match &self.hasher {
            Hasher::Sha256(hasher) => Digest::from_sha256(hasher.clone().finalize().into()),
            Hasher::Sha512(hasher) => Digest::from_sha512(hasher.clone().finalize().into()),
        };
        match found == self.expected.digest && self.read_bytes == self.expected.size {
            true => Ok(()),
            false => {
                let text = format!(
                    "{} is damaged: its content has digest {found}",
                    self.expected.digest
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.check()?;
        }
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(&buffer[..count]),
            Hasher::Sha512(hasher) => hasher.update(&buffer[..count]),
        }
        self.read_bytes += count as u64;
        Ok(count)
    }
}
