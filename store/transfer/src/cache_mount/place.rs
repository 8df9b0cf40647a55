//! Where exported cache mounts are kept: registries, and OCI layouts in directories.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use kiln_disk::At;
use kiln_layer::digest::DigestReader;
use kiln_oci::{Descriptor, Document, Index, Manifest, MediaFamily, MediaType, Reference};
use kiln_registry::{Client, Pushed};

use super::error::{Error, Result};
use super::index::{ARTIFACT, PACK};
use crate::layout::{LayoutDirectory, is_named};

/// The most bytes that a manifest or an `index.json` may have.
const MAXIMUM_DOCUMENT_BYTES: u64 = 16 << 20;

/// A place that holds an exported cache mount, or will.
pub trait Place {
    /// Returns what the place is called in messages.
    fn name(&self) -> String;

    /// Returns the manifest that is there.
    fn manifest(&self) -> Result<Option<Manifest>>;

    /// Opens a blob. Its digest is checked when all of it has been read.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>>;

    /// Puts the file `content`, which is `blob`; returns whether it had to be sent.
    fn put(&self, blob: &Descriptor, content: &Path) -> Result<bool>;

    /// Puts the manifest, in place of the one that is there; all its blobs are.
    fn put_manifest(&self, manifest: &Manifest) -> Result<Descriptor>;
}

/// A registry.
pub struct InRegistry<'a> {
    /// How it is reached.
    pub client: &'a Client,
    /// The repository and tag.
    pub reference: &'a Reference,
}

impl Place for InRegistry<'_> {
    fn name(&self) -> String {
        self.reference.familiar()
    }

    fn manifest(&self) -> Result<Option<Manifest>> {
        let fetched = match self.client.resolve(self.reference) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        match fetched.document {
            Document::Manifest(manifest) => checked(manifest, &self.name()).map(Some),
            Document::Index(_) => Err(not_one(&self.name())),
        }
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.client.blob(self.reference, blob)?))
    }

    fn put(&self, blob: &Descriptor, content: &Path) -> Result<bool> {
        let open = |position| {
            let mut file = File::open(content)?;
            file.seek(SeekFrom::Start(position))?;
            Ok(Box::new(file) as Box<dyn Read + Send>)
        };
        let pushed = self.client.push_blob(self.reference, blob, open, None)?;
        Ok(pushed != Pushed::Existed)
    }

    fn put_manifest(&self, manifest: &Manifest) -> Result<Descriptor> {
        let bytes = manifest.to_bytes();
        let media_type = &manifest.media_type;
        Ok(self
            .client
            .push_manifest(self.reference, media_type, &bytes)?)
    }
}

/// An OCI layout in a directory.
#[derive(Debug, Clone)]
pub struct InDirectory {
    /// The directory; it is made by the first export.
    pub directory: PathBuf,
    /// The name among the manifests of the layout.
    pub tag: String,
}

impl InDirectory {
    fn layout(&self) -> LayoutDirectory {
        LayoutDirectory::new(self.directory.clone())
    }

    fn index(&self) -> Result<Index> {
        let Some(bytes) = self.layout().index()? else {
            return Ok(Index::new(MediaFamily::Oci, Vec::new()));
        };
        match Document::parse(&bytes, None) {
            Ok(Document::Index(index)) => Ok(index),
            Ok(Document::Manifest(_)) => Err(not_one(&self.name())),
            Err(source) => Err(Error::NotOne {
                place: self.name(),
                source: Some(source),
            }),
        }
    }

    fn read_manifest(&self, entry: &Descriptor) -> Result<Manifest> {
        let path = self.layout().blob_path(&entry.digest);
        let mut bytes = Vec::new();
        self.open(entry)?
            .take(MAXIMUM_DOCUMENT_BYTES)
            .read_to_end(&mut bytes)
            .at("read", &path)?;
        match Document::parse(&bytes, Some(entry.media_type.as_str())) {
            Ok(Document::Manifest(manifest)) => Ok(manifest),
            Ok(Document::Index(_)) => Err(not_one(&self.name())),
            Err(source) => Err(Error::NotOne {
                place: self.name(),
                source: Some(source),
            }),
        }
    }

    /// Removes packs that `earlier` named and no manifest of the layout names any more.
    fn forget_packs(&self, earlier: &Manifest) -> Result<()> {
        let mut needed = BTreeSet::new();
        for entry in self.index()?.manifests {
            // One that cannot be read may need anything.
            let manifest = self.read_manifest(&entry)?;
            needed.extend(manifest.layers.into_iter().map(|layer| layer.digest));
        }
        let is_pack = |layer: &&Descriptor| layer.media_type.as_str() == PACK;
        for layer in earlier.layers.iter().filter(is_pack) {
            if !needed.contains(&layer.digest) {
                let path = self.layout().blob_path(&layer.digest);
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }
}

impl Place for InDirectory {
    fn name(&self) -> String {
        format!("{} ({})", self.directory.display(), self.tag)
    }

    fn manifest(&self) -> Result<Option<Manifest>> {
        let index = self.index()?;
        let entry = index
            .manifests
            .iter()
            .find(|entry| is_named(entry, &self.tag));
        match entry {
            Some(entry) => checked(self.read_manifest(entry)?, &self.name()).map(Some),
            None => Ok(None),
        }
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let path = self.layout().blob_path(&blob.digest);
        let file = File::open(&path).at("open", &path)?;
        Ok(Box::new(CheckedFile::new(file, blob)))
    }

    fn put(&self, blob: &Descriptor, content: &Path) -> Result<bool> {
        if self.layout().has_blob(blob) {
            return Ok(false);
        }
        let mut file = File::open(content).at("open", content)?;
        self.layout().write_blob(&blob.digest, &mut file)?;
        Ok(true)
    }

    fn put_manifest(&self, manifest: &Manifest) -> Result<Descriptor> {
        let earlier = self.manifest().ok().flatten();
        let bytes = manifest.to_bytes();
        let mut entry = Descriptor::of_bytes(manifest.media_type.clone(), &bytes);
        let descriptor = entry.clone();
        self.layout().write_blob(&entry.digest, &mut &bytes[..])?;
        entry.artifact_type = Some(ARTIFACT.to_owned());
        self.layout().name(self.index()?, &self.tag, entry)?;
        match earlier {
            Some(earlier) => self.forget_packs(&earlier).map(|()| descriptor),
            None => Ok(descriptor),
        }
    }
}

fn checked(manifest: Manifest, place: &str) -> Result<Manifest> {
    match manifest.artifact_type.as_deref() == Some(ARTIFACT) {
        true => Ok(manifest),
        false => Err(not_one(place)),
    }
}

fn not_one(place: &str) -> Error {
    Error::NotOne {
        place: place.to_owned(),
        source: None,
    }
}

/// A file that must have a digest: reading its end fails if it has not.
struct CheckedFile {
    reader: Option<DigestReader<io::Take<File>>>,
    expected: Descriptor,
}

impl CheckedFile {
    fn new(file: File, expected: &Descriptor) -> Self {
        Self {
            reader: Some(DigestReader::new(file.take(expected.size + 1))),
            expected: expected.clone(),
        }
    }
}

impl CheckedFile {
    /// Checks what was read, all of it by now.
    fn check(&mut self) -> io::Result<()> {
        let Some(reader) = self.reader.take() else {
            return Ok(());
        };
        let (_, found, size) = reader.finish();
        if (&found, size) == (&self.expected.digest, self.expected.size) {
            return Ok(());
        }
        let expected = &self.expected.digest;
        let message = format!("blob {expected} has digest {found}");
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

impl Read for CheckedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(reader) = &mut self.reader else {
            return Ok(0);
        };
        let count = reader.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        self.check().map(|()| 0)
    }
}

/// Returns the manifest of an exported mount.
pub(super) fn manifest_of(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
    let mut manifest = Manifest::new(MediaFamily::Oci, config, layers);
    manifest.artifact_type = Some(ARTIFACT.to_owned());
    manifest.media_type = MediaType::manifest(MediaFamily::Oci);
    manifest
}
