//! An OCI image layout in a directory, read and written file by file.
//!
//! Specification: OCI image-spec, image-layout.md. Every file appears whole or not at all, and
//! `index.json` last: what it names is there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_disk::{At, Result};
use kiln_oci::{Descriptor, Digest, Index, MAX_DOCUMENT_BYTES};

/// The annotation of an entry of `index.json` that holds its name.
pub const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// The content of the file `oci-layout`.
pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout; the first write makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutDirectory {
    path: PathBuf,
}

impl LayoutDirectory {
    /// Returns the layout at `path`, whether it is there or not.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns where the layout is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let folder = self.path.join("blobs").join(digest.algorithm().as_str());
        folder.join(digest.hex())
    }

    /// Whether the blob is there, in its whole length.
    pub fn has_blob(&self, blob: &Descriptor) -> bool {
        let found = fs::metadata(self.blob_path(&blob.digest));
        found.is_ok_and(|found| found.len() == blob.size)
    }

    /// Returns the bytes of `index.json`; `None` if there is none.
    pub fn index(&self) -> Result<Option<Vec<u8>>> {
        let path = self.path.join("index.json");
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file
                .at("open", &path)?
                .take(MAX_DOCUMENT_BYTES as u64)
                .read_to_end(&mut bytes)
                .at("read", &path)?,
        };
        Ok(Some(bytes))
    }

    /// Writes the blob `digest`, which `content` has.
    pub fn write_blob(&self, digest: &Digest, content: &mut dyn Read) -> Result<()> {
        self.write(&self.blob_path(digest), content)
    }

    /// Gives `entry` the name `tag`, in the place of what has it in `index`.
    pub fn name(&self, mut index: Index, tag: &str, mut entry: Descriptor) -> Result<()> {
        entry
            .annotations
            .insert(REFERENCE_NAME.to_owned(), tag.to_owned());
        index.manifests.retain(|other| !is_named(other, tag));
        self.write_index(index, entry)
    }

    /// Lists `entry` without a name.
    pub fn list(&self, index: Index, entry: Descriptor) -> Result<()> {
        match index.manifests.iter().any(|one| one.digest == entry.digest) {
            true => Ok(()),
            false => self.write_index(index, entry),
        }
    }

    fn write_index(&self, mut index: Index, entry: Descriptor) -> Result<()> {
        index.manifests.push(entry);
        self.write(&self.path.join("oci-layout"), &mut &LAYOUT[..])?;
        self.write(&self.path.join("index.json"), &mut &index.to_bytes()[..])
    }

    fn write(&self, path: &Path, content: &mut dyn Read) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).at("make directory", folder)?;
        let temporary = folder.join(temporary_name());
        let written = File::create(&temporary)
            .and_then(|mut file| io::copy(content, &mut file).and_then(|_| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // It may never have been there.
            let _ = fs::remove_file(&temporary);
        }
        written.at("write", path)
    }
}

/// Whether an entry of `index.json` has the name `tag`.
pub fn is_named(entry: &Descriptor, tag: &str) -> bool {
    let name = entry.annotations.get(REFERENCE_NAME);
    name.is_some_and(|name| name == tag)
}

/// Returns a name that no other writer in the directory uses.
fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".new.{}.{count}", std::process::id())
}
