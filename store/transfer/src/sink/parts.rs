//! The files that an OCI layout or a Docker archive is made of, wherever they are written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use kiln_disk::{CheckedBlob, Store};
use kiln_oci::{Descriptor, Digest};

use super::destination::Output;
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

    pub(super) fn open(&self, store: &Store) -> Result<Content<'_>> {
        let blobs = store.blobs();
        Ok(match self {
            Part::Bytes(bytes) => Content::Bytes(bytes),
            Part::Blob(blob) if blobs.was_made_here(&blob.digest) => {
                Content::Known(blobs.open(&blob.digest)?)
            }
            Part::Blob(blob) => Content::Checked(Box::new(blobs.open_checked(&blob.digest)?)),
        })
    }
}

/// The content of a file, to be written once.
pub(super) enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A blob that this process has just written.
    Known(File),
    /// A blob that lay in the store.
    Checked(Box<CheckedBlob>),
}

impl Content<'_> {
    /// Writes it to `output`; returns how many bytes it has.
    pub(super) fn copy_to(&mut self, output: &mut Output<'_>) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => output.write_all(bytes).map(|()| bytes.len() as u64),
            Self::Known(file) => output.copy(file),
            Self::Checked(blob) => copy_large(blob, output),
        }
    }
}

const BUFFER_BYTES: usize = 256 << 10;

/// Like [`io::copy`], in pieces that are worth a call.
fn copy_large(input: &mut impl io::Read, output: &mut impl Write) -> io::Result<u64> {
    let (mut buffer, mut copied) = (vec![0; BUFFER_BYTES], 0);
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                output.write_all(&buffer[..count])?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
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
