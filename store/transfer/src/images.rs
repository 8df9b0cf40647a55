//! The images that a store has, as far as it has them.
//!
//! An index that was pulled lists images for platforms that nobody asked for: their manifests
//! are elsewhere. Images that lost their name, or never had one, are found by looking through
//! all small blobs.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use kiln_disk::{At, Store};
use kiln_oci::{Descriptor, Digest, Document, MAX_DOCUMENT_BYTES, MediaType};

use crate::error::{Error, Result};
use crate::image::{self, Image};

/// Returns the images below `target` that the store has, in the order of its index.
///
/// Left out are entries whose manifest or configuration is not here, and those that are no
/// images, such as attestations. Errors: a document that is here cannot be understood, or the
/// manifest of a single image is not here.
pub fn present(store: &Store, target: &Descriptor) -> Result<Vec<Image>> {
    let Document::Index(index) = document(store, &target.digest, Some(&target.media_type))? else {
        return Ok(vec![image::load(store, target, None)?]);
    };
    let mut images = Vec::new();
    for entry in index
        .manifests
        .iter()
        .filter(|entry| is_for_a_system(entry))
    {
        match image::load(store, entry, entry.platform.as_ref()) {
            Ok(mut image) => {
                // What a list says of its entry goes before what the image says of itself.
                if let Some(platform) = &entry.platform {
                    image.platform = platform.clone().normalized();
                    image.manifest.platform = Some(platform.clone());
                }
                images.push(image);
            }
            Err(Error::Store(kiln_disk::Error::BlobMissing(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(images)
}

/// Returns whether the store has every manifest that `target` lists.
pub fn is_complete(store: &Store, target: &Descriptor) -> Result<bool> {
    Ok(
        match document(store, &target.digest, Some(&target.media_type))? {
            Document::Manifest(_) => true,
            Document::Index(index) => {
                let mut entries = index.manifests.iter();
                entries.all(|entry| store.blobs().has(&entry.digest))
            }
        },
    )
}

/// Returns the digests of all documents that the named images lead to.
fn reached(store: &Store) -> Result<HashSet<Digest>> {
    let mut reached = HashSet::new();
    // What a damaged name led to has none until it is named again.
    for named in store.images().list_sound()?.images {
        reached.insert(named.target.digest.clone());
        // A damaged one leads nowhere.
        let document = document(store, &named.target.digest, None);
        if let Ok(Document::Index(index)) = document {
            reached.extend(index.manifests.into_iter().map(|entry| entry.digest));
        }
    }
    Ok(reached)
}

/// Returns the manifests and indexes of the store that no name leads to, sorted by digest.
///
/// Manifests that an unnamed index lists are not told of by themselves.
pub fn unnamed(store: &Store) -> Result<Vec<Descriptor>> {
    let mut known = reached(store)?;
    let mut found = Vec::new();
    for digest in small_blobs(store)? {
        if known.contains(&digest) {
            continue;
        }
        let Ok(document) = document(store, &digest, None) else {
            continue;
        };
        if let Document::Manifest(manifest) = &document
            && !manifest.is_image()
        {
            continue;
        }
        if let Document::Index(index) = &document {
            known.extend(index.manifests.iter().map(|entry| entry.digest.clone()));
        }
        let size = store.blobs().size(&digest)?;
        let media_type = document.media_type().clone();
        found.push(Descriptor::new(media_type, digest, size));
    }
    found.retain(|descriptor| !known.contains(&descriptor.digest));
    found.sort_by(|one, other| one.digest.cmp(&other.digest));
    Ok(found)
}

/// Returns the digests of the blobs that may be documents.
fn small_blobs(store: &Store) -> Result<Vec<Digest>> {
    let any = Digest::sha256(b"");
    let path = store.blobs().path(&any);
    let folder = path.parent().unwrap_or(&path);
    let mut digests = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(digests),
        entries => entries.at("read directory", folder)?,
    };
    for entry in entries {
        let entry = entry.at("read directory", folder)?;
        let is_small = |metadata: fs::Metadata| metadata.len() <= MAX_DOCUMENT_BYTES as u64;
        // It may just have been removed.
        if !entry.metadata().is_ok_and(is_small) {
            continue;
        }
        if !begins_like_a_document(&entry.path()) {
            continue;
        }
        let name = entry.file_name();
        digests.extend(format!("sha256:{}", name.to_string_lossy()).parse());
    }
    Ok(digests)
}

/// Most blobs are layers: their first byte tells.
fn begins_like_a_document(path: &Path) -> bool {
    let mut first = [0];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == *b"{"
}

fn document(store: &Store, digest: &Digest, media_type: Option<&MediaType>) -> Result<Document> {
    let bytes = store.blobs().read(digest, MAX_DOCUMENT_BYTES as u64)?;
    let media_type = media_type.map(MediaType::as_str);
    Document::parse(&bytes, media_type).map_err(|source| Error::Document {
        digest: digest.clone(),
        source,
    })
}

/// What tells of other images, such as where they come from, is for the platform `unknown`.
pub(crate) fn is_for_a_system(entry: &Descriptor) -> bool {
    let platform = entry.platform.as_ref();
    platform.is_none_or(|platform| platform.os != "unknown")
}
