//! A cache in a directory: an OCI image layout, as others keep theirs.
//!
//! Specification: OCI image-spec, image-layout.md.

use super::document::{Document, MEDIA_TYPE, media_type};
use super::registry::LARGEST_DOCUMENT_BYTES;
use super::{Backend, CacheError, LoadedCache, OpenBlob};
use kiln_oci::{
    Descriptor, Digest, Document as OciDocument, MAX_DOCUMENT_BYTES, Manifest, MediaFamily,
    Reference,
};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A cache in a layout.
pub(super) struct LayoutCache {
    path: PathBuf,
    tag: String,
    digest: Option<Digest>,
}

/// The file `index.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutIndex {
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

impl LayoutCache {
    pub fn new(path: PathBuf, tag: String, digest: Option<Digest>) -> Self {
        LayoutCache { path, tag, digest }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let folder = self.path.join("blobs").join(digest.algorithm().to_string());
        folder.join(digest.hex())
    }

    /// Returns `index.json`; `None` if there is none.
    fn index(&self) -> Result<Option<LayoutIndex>, CacheError> {
        let path = self.path.join("index.json");
        let bytes = match read_bounded(&path, MAX_DOCUMENT_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file_error("read", &path, source)),
        };
        let malformed = |error| format!("{} cannot be read: {error}", path.display());
        let index = serde_json::from_slice(&bytes);
        index
            .map(Some)
            .map_err(|error| CacheError::Malformed(malformed(error)))
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
        let path = self.blob_path(digest);
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

    /// Writes a file under its name, whole or not at all.
    fn write(&self, path: &Path, input: &mut dyn Read) -> Result<(), CacheError> {
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).map_err(|source| file_error("create", folder, source))?;
        let temporary = folder.join(format!(
            ".new-{}",
            Digest::sha256(unique().as_bytes()).hex()
        ));
        let written = File::create(&temporary).and_then(|mut file| {
            io::copy(input, &mut file)?;
            file.flush()?;
            fs::rename(&temporary, path)
        });
        written.map_err(|source| {
            // It may never have been there.
            let _ = fs::remove_file(&temporary);
            file_error("write", path, source)
        })
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
        Ok(Box::new(File::open(self.blob_path(&descriptor.digest))?))
    }

    fn put_blob(
        &self,
        descriptor: &Descriptor,
        open: OpenBlob<'_>,
        _: Option<&Reference>,
    ) -> Result<(), CacheError> {
        let path = self.blob_path(&descriptor.digest);
        let is_there = fs::metadata(&path).is_ok_and(|there| there.len() == descriptor.size);
        if is_there {
            return Ok(());
        }
        let mut input = open().map_err(|source| file_error("read what goes to", &path, source))?;
        self.write(&path, &mut input)
    }

    fn publish(&self, document: &Document, layers: &[Descriptor]) -> Result<(), CacheError> {
        let bytes = document.encode();
        let config = Descriptor::of_bytes(media_type(), &bytes);
        self.write(&self.blob_path(&config.digest), &mut Cursor::new(bytes))?;
        let manifest = Manifest::new(MediaFamily::Oci, config, layers.to_vec());
        let bytes = manifest.to_bytes();
        let mut target = Descriptor::of_bytes(manifest.media_type, &bytes);
        self.write(&self.blob_path(&target.digest), &mut Cursor::new(bytes))?;
        target
            .annotations
            .insert(REFERENCE_NAME.to_owned(), self.tag.clone());
        let known = self.index()?.map(|index| index.manifests);
        let mut manifests = known.unwrap_or_default();
        manifests.retain(|one| !is_named(one, &self.tag));
        manifests.push(target);
        let index = LayoutIndex {
            schema_version: 2,
            manifests,
        };
        self.write(&self.path.join("oci-layout"), &mut Cursor::new(LAYOUT))?;
        // Strings and numbers: there is nothing that JSON cannot hold.
        let bytes = serde_json::to_vec_pretty(&index).unwrap_or_default();
        self.write(&self.path.join("index.json"), &mut Cursor::new(bytes))
    }
}

fn is_named(descriptor: &Descriptor, tag: &str) -> bool {
    let name = descriptor.annotations.get(REFERENCE_NAME);
    name.is_some_and(|name| name == tag)
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

/// Returns a text that no other writer in the directory has.
fn unique() -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    let thread = std::thread::current().id();
    format!("{now} {} {thread:?}", std::process::id())
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> CacheError {
    CacheError::File {
        action,
        path: path.to_owned(),
        source,
    }
}
