//! Images of an OCI image layout: a directory, or an archive of one.
//!
//! Specification: OCI image-spec, image-layout.md.

use std::path::Path;

use kiln_disk::Store;
use kiln_oci::{
    Descriptor, Digest, Document, Index, MAX_DOCUMENT_BYTES, MediaType, Platform, Reference,
};
use serde::Deserialize;

use super::ImportError;
use super::layout_files::LayoutFiles;
use crate::images::is_for_a_system;
use crate::layout::REFERENCE_NAME;
use crate::layout_name::LayoutName;

type Result<T, E = ImportError> = std::result::Result<T, E>;

pub(super) const NAME: &str = "io.containerd.image.name";
const VERSION: &str = "1.0.0";
/// The name that is meant when none is said, before the only one there is.
const DEFAULT_NAME: &str = "latest";
/// How many indexes may lead to an image.
const DEEPEST_INDEX: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

/// Brings the image `wanted` of the layout at `path` into the store, and returns what it is: a
/// manifest, or an index of several.
///
/// Of an index only the images for `platforms` come in; all that the layout has when there are
/// none. The image gets no name in the store.
pub fn import(
    store: &Store,
    path: &Path,
    wanted: &LayoutName,
    platforms: &[Platform],
) -> Result<Descriptor> {
    let files = LayoutFiles::open(store, path)?;
    check_version(&files)?;
    let target = find(store, &files, wanted)?;
    bring(store, &files, &target, platforms)?;
    Ok(target)
}

/// Brings `target` of the layout into the store, with all that it leads to.
pub(super) fn bring(
    store: &Store,
    files: &LayoutFiles,
    target: &Descriptor,
    platforms: &[Platform],
) -> Result<()> {
    let importer = Importer {
        store,
        files,
        platforms,
    };
    match importer.document(target, 0)? {
        0 => Err(ImportError::NotALayout {
            path: files.path().to_owned(),
            reason: format!(
                "it has none of the images that index {} lists",
                target.digest
            ),
        }),
        _ => Ok(()),
    }
}

pub(super) fn check_version(files: &LayoutFiles) -> Result<()> {
    let no_layout = |reason: String| ImportError::NotALayout {
        path: files.path().to_owned(),
        reason,
    };
    let bytes = files.layout()?;
    let bytes = bytes.ok_or_else(|| no_layout("it has no file `oci-layout`".to_owned()))?;
    let layout: LayoutFile = serde_json::from_slice(&bytes)
        .map_err(|error| no_layout(format!("its file `oci-layout` is malformed: {error}")))?;
    match layout.image_layout_version == VERSION {
        true => Ok(()),
        false => Err(no_layout(format!(
            "its version is {}, not {VERSION}",
            layout.image_layout_version
        ))),
    }
}

/// Returns the descriptor of the image that is meant.
fn find(store: &Store, files: &LayoutFiles, wanted: &LayoutName) -> Result<Descriptor> {
    let index = read_index(files)?;
    if let Some(digest) = &wanted.digest {
        return by_digest(store, files, &index, digest);
    }
    let name = wanted.name.as_deref();
    let found = index
        .manifests
        .iter()
        .find(|entry| is_named(entry, name.unwrap_or(DEFAULT_NAME)));
    match (found, name, index.manifests.as_slice()) {
        (Some(entry), _, _) | (None, None, [entry]) => Ok(entry.clone()),
        (None, None, []) => Err(ImportError::NotALayout {
            path: files.path().to_owned(),
            reason: "its index lists no image".to_owned(),
        }),
        (None, None, _) => Err(ImportError::SeveralImages {
            path: files.path().to_owned(),
            offered: names(&index),
        }),
        (None, Some(name), _) => Err(ImportError::NoSuchName {
            path: files.path().to_owned(),
            name: name.to_owned(),
            offered: names(&index),
        }),
    }
}

pub(super) fn read_index(files: &LayoutFiles) -> Result<Index> {
    let no_layout = |reason: String| ImportError::NotALayout {
        path: files.path().to_owned(),
        reason,
    };
    let bytes = files.index()?;
    let bytes = bytes.ok_or_else(|| no_layout("it has no file `index.json`".to_owned()))?;
    match Document::parse(&bytes, None) {
        Ok(Document::Index(index)) => Ok(index),
        Ok(Document::Manifest(_)) => Err(no_layout("its `index.json` is no index".to_owned())),
        Err(error) => Err(no_layout(format!("its `index.json`: {error}"))),
    }
}

/// An image may be named by a digest that the index does not list.
fn by_digest(
    store: &Store,
    files: &LayoutFiles,
    index: &Index,
    digest: &Digest,
) -> Result<Descriptor> {
    let listed = index.manifests.iter().find(|entry| entry.digest == *digest);
    if let Some(entry) = listed {
        return Ok(entry.clone());
    }
    if !files.has(store, digest) {
        return Err(ImportError::NoSuchName {
            path: files.path().to_owned(),
            name: digest.to_string(),
            offered: names(index),
        });
    }
    let size = files.size(store, digest)?;
    let unknown = Descriptor::new(MediaType::from(""), digest.clone(), size);
    let document = read_document(store, files, &unknown)?;
    let media_type = document.media_type().clone();
    Ok(Descriptor::new(media_type, digest.clone(), size))
}

/// Whether an entry of the index is called `name`: as the layout says it, or as image names are
/// compared.
fn is_named(entry: &Descriptor, name: &str) -> bool {
    let named = [REFERENCE_NAME, NAME].map(|key| entry.annotations.get(key));
    let is_same = |text: &String| {
        text == name
            || match (text.parse::<Reference>(), name.parse::<Reference>()) {
                (Ok(one), Ok(other)) => text.contains(['/', ':']) && one == other,
                _ => false,
            }
    };
    named.into_iter().flatten().any(is_same)
}

fn names(index: &Index) -> Vec<String> {
    let name = |entry: &Descriptor| {
        let annotations = &entry.annotations;
        let name = annotations.get(REFERENCE_NAME).or(annotations.get(NAME));
        name.cloned().unwrap_or_else(|| entry.digest.to_string())
    };
    index.manifests.iter().map(name).collect()
}

/// Brings the document into the store and returns it.
fn read_document(store: &Store, files: &LayoutFiles, descriptor: &Descriptor) -> Result<Document> {
    let digest = &descriptor.digest;
    if descriptor.size > MAX_DOCUMENT_BYTES as u64 {
        return Err(ImportError::NotALayout {
            path: files.path().to_owned(),
            reason: format!("manifest {digest} is larger than {MAX_DOCUMENT_BYTES} bytes"),
        });
    }
    files.bring(store, descriptor)?;
    let bytes = store.blobs().read(digest, MAX_DOCUMENT_BYTES as u64)?;
    let media_type = Some(descriptor.media_type.as_str()).filter(|text| !text.is_empty());
    Document::parse(&bytes, media_type).map_err(|source| ImportError::Document {
        path: files.path().to_owned(),
        digest: digest.clone(),
        source,
    })
}

struct Importer<'a> {
    store: &'a Store,
    files: &'a LayoutFiles,
    platforms: &'a [Platform],
}

impl Importer<'_> {
    /// Brings what `descriptor` leads to, and returns how many images that were.
    fn document(&self, descriptor: &Descriptor, depth: usize) -> Result<usize> {
        if depth > DEEPEST_INDEX {
            return Err(ImportError::TooDeep {
                path: self.files.path().to_owned(),
                digest: descriptor.digest.clone(),
            });
        }
        match read_document(self.store, self.files, descriptor)? {
            Document::Manifest(manifest) => {
                let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
                blobs
                    .into_iter()
                    .try_for_each(|blob| self.files.bring(self.store, blob))?;
                Ok(1)
            }
            Document::Index(index) => {
                let entries = self.entries(&index)?;
                let counts = entries
                    .into_iter()
                    .map(|entry| self.document(entry, depth + 1));
                counts.sum()
            }
        }
    }

    /// Returns the entries of `index` that are to come in.
    fn entries<'i>(&self, index: &'i Index) -> Result<Vec<&'i Descriptor>> {
        if self.platforms.is_empty() {
            let entries = index
                .manifests
                .iter()
                .filter(|entry| is_for_a_system(entry));
            let here = entries.filter(|entry| self.files.has(self.store, &entry.digest));
            return Ok(here.collect());
        }
        let select = |platform: &Platform| {
            index
                .select(platform)
                .ok_or_else(|| ImportError::PlatformMissing {
                    path: self.files.path().to_owned(),
                    platform: Box::new(platform.clone()),
                })
        };
        self.platforms.iter().map(select).collect()
    }
}
