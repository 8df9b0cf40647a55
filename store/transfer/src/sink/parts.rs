//! The files that an OCI layout or a Docker archive is made of, wherever they are written.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;

use kiln_disk::Store;
use kiln_oci::{Descriptor, Digest};

use crate::error::Result;
use crate::pack::PackedImage;

/// The files by their paths: sorted, each once.
pub(super) type Parts = BTreeMap<PathBuf, Part>;

/// The content of one file.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A blob of the store.
    Blob(Descriptor),
}

impl Part {
    pub(super) fn size(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Blob(descriptor) => descriptor.size,
        }
    }

    pub(super) fn open(&self, store: &Store) -> Result<Box<dyn Read + '_>> {
        Ok(match self {
            Part::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Part::Blob(descriptor) => Box::new(store.blobs().open_checked(&descriptor.digest)?),
        })
    }
}

/// Adds the manifest, the configuration and the layers of `image`.
pub(super) fn add_image(parts: &mut Parts, image: &PackedImage) {
    let manifest = Part::Bytes(image.manifest_bytes.clone());
    parts.insert(blob_path(&image.manifest.digest), manifest);
    parts.insert(
        blob_path(&image.config.digest),
        Part::Bytes(image.config_bytes.clone()),
    );
    for layer in &image.layers {
        parts.insert(blob_path(&layer.digest), Part::Blob(layer.clone()));
    }
}

/// Returns where an OCI layout has a blob.
pub(super) fn blob_path(digest: &Digest) -> PathBuf {
    ["blobs", digest.algorithm().as_str(), digest.hex()]
        .iter()
        .collect()
}

/// Fails reads that do not have exactly the announced size: the blob was damaged.
pub(super) fn copied_all(copied: u64, part: &Part) -> io::Result<()> {
    match copied == part.size() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the blob has {copied} bytes instead of {}", part.size()),
        )),
    }
}
