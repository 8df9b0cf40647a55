//! All images of an archive or a layout into the store, whoever wrote it.
//!
//! Read are OCI layouts, as directories and as archives, and what `docker save` writes, old and
//! new; archives compressed by gzip, zstd, xz or bzip2 as well. The images get no names: that is
//! for whoever has unpacked them, and so knows that their layers are what they should be.

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_disk::Store;
use kiln_oci::{Descriptor, Document, MAX_DOCUMENT_BYTES, MediaKind, Platform, Reference};

use super::archive_files::{self, ArchiveFiles};
use super::layout_files::{LayoutFiles, open_archive};
use super::{ImportError, docker_archive, oci_layout};
use crate::layout::REFERENCE_NAME;

type Result<T, E = ImportError> = std::result::Result<T, E>;

/// An image that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedImage {
    /// Its names.
    pub names: Vec<Reference>,
    /// Its manifest or index.
    pub target: Descriptor,
}

/// Where images are read from.
pub enum LoadInput<'a> {
    /// An archive, or the directory of a layout.
    Path(&'a Path),
    /// An archive from standard input.
    Stream(&'a mut dyn Read),
}

/// Brings all images of `input` into the store; of an index the images for `platforms` only, or
/// all that are there when there are none.
pub fn load(
    store: &Store,
    input: LoadInput<'_>,
    platforms: &[Platform],
) -> Result<Vec<LoadedImage>> {
    let (files, path) = match input {
        LoadInput::Path(path) if path.is_dir() => {
            let files = LayoutFiles::open(store, path)?;
            return load_layout(store, &files, None, platforms);
        }
        LoadInput::Path(path) => {
            let file = open_archive(path)?;
            (archive_files::read(store, file, path)?, path.to_owned())
        }
        LoadInput::Stream(stream) => {
            let path = PathBuf::from("standard input");
            (archive_files::read(store, stream, &path)?, path)
        }
    };
    let is_layout =
        files.document("oci-layout").is_some() && files.document("index.json").is_some();
    if is_layout {
        let layout = LayoutFiles::of_archive(&path, &files);
        return load_layout(store, &layout, Some(&files), platforms);
    }
    let listed = docker_archive::listed(&files, &path)?;
    let import = |one| docker_archive::import(store, &files, one, &path);
    none_is_wrong(listed.iter().map(import).collect::<Result<_>>()?, &path)
}

fn none_is_wrong(images: Vec<LoadedImage>, path: &Path) -> Result<Vec<LoadedImage>> {
    match images.is_empty() {
        false => Ok(images),
        true => Err(ImportError::NotAnArchive {
            path: path.to_owned(),
            reason: "it lists no image".to_owned(),
        }),
    }
}

fn load_layout(
    store: &Store,
    layout: &LayoutFiles,
    archive: Option<&ArchiveFiles>,
    platforms: &[Platform],
) -> Result<Vec<LoadedImage>> {
    oci_layout::check_version(layout)?;
    let index = oci_layout::read_index(layout)?;
    let mut images: Vec<LoadedImage> = Vec::new();
    for entry in &index.manifests {
        let is_image = |kind| matches!(kind, MediaKind::Manifest | MediaKind::Index);
        if !is_image(entry.media_type.kind()) {
            continue;
        }
        let target = Descriptor::new(entry.media_type.clone(), entry.digest.clone(), entry.size);
        if images.iter().all(|one| one.target.digest != target.digest) {
            oci_layout::bring(store, layout, &target, platforms)?;
            images.push(LoadedImage {
                names: Vec::new(),
                target: target.clone(),
            });
        }
        let mut names = names_of(entry, layout.path())?;
        if let (true, Some(files)) = (names.is_empty(), archive) {
            names = names_in_archive(store, files, &target, layout.path())?;
        }
        if let Some(image) = images
            .iter_mut()
            .find(|one| one.target.digest == target.digest)
        {
            names.retain(|name| !image.names.contains(name));
            image.names.extend(names);
        }
    }
    none_is_wrong(images, layout.path())
}

/// Returns the name of an entry: the one that containerd keeps, or the layout's own if that is a
/// whole image name. A tag alone says nothing of the repository.
fn names_of(entry: &Descriptor, path: &Path) -> Result<Vec<Reference>> {
    let annotations = &entry.annotations;
    let short = annotations.get(REFERENCE_NAME);
    let whole = short.filter(|name| name.contains(['/', ':']));
    let Some(name) = annotations.get(oci_layout::NAME).or(whole) else {
        return Ok(Vec::new());
    };
    let name = name.parse().map_err(|source| ImportError::Name {
        path: path.to_owned(),
        source,
    })?;
    Ok(vec![name])
}

fn names_in_archive(
    store: &Store,
    files: &ArchiveFiles,
    target: &Descriptor,
    path: &Path,
) -> Result<Vec<Reference>> {
    let bytes = store
        .blobs()
        .read(&target.digest, MAX_DOCUMENT_BYTES as u64)?;
    let names = match Document::parse(&bytes, Some(target.media_type.as_str())) {
        Ok(Document::Manifest(manifest)) => {
            docker_archive::names_by_config(files, &manifest.config.digest, path)
        }
        _ => Vec::new(),
    };
    Ok(names)
}
