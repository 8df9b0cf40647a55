//! Images of an archive as `docker save` writes it, with a `manifest.json`.
//!
//! The configuration is kept byte for byte, so the image keeps its ID. The archive has no
//! manifest in the registry's sense: one is made.

use std::io::Read;
use std::path::Path;

use kiln_disk::{At, Store};
use kiln_layer::compress::ArchiveCompression;
use kiln_oci::{
    Descriptor, ImageConfig, LayerEncoding, MAX_DOCUMENT_BYTES, Manifest, MediaFamily, MediaType,
    Reference,
};
use serde::Deserialize;

use super::ImportError;
use super::archive_files::{ArchiveFiles, Content};
use super::load::LoadedImage;
use crate::json;

type Result<T, E = ImportError> = std::result::Result<T, E>;

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Loadable {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Returns what `manifest.json` lists.
pub(super) fn listed(files: &ArchiveFiles, path: &Path) -> Result<Vec<Loadable>> {
    let no_archive = |reason: String| ImportError::NotAnArchive {
        path: path.to_owned(),
        reason,
    };
    let Some(bytes) = files.document("manifest.json") else {
        let reason = match files.document("repositories") {
            Some(_) => "it has the format of Docker before 1.10, which is not supported",
            None => "it has neither `index.json` with `oci-layout` nor `manifest.json`",
        };
        return Err(no_archive(reason.to_owned()));
    };
    serde_json::from_slice(bytes)
        .map_err(|error| no_archive(format!("its `manifest.json`: {error}")))
}

/// Brings the image `loadable` into the store.
pub(super) fn import(
    store: &Store,
    files: &ArchiveFiles,
    loadable: &Loadable,
    path: &Path,
) -> Result<LoadedImage> {
    let (config_content, config) = config(store, files, loadable, path)?;
    let names = loadable.layers.as_deref().unwrap_or_default();
    let diff_ids = &config.rootfs.diff_ids;
    if names.len() != diff_ids.len() {
        let (listed, expected) = (names.len(), diff_ids.len());
        return Err(ImportError::NotAnArchive {
            path: path.to_owned(),
            reason: format!("its manifest lists {listed} layers of an image that has {expected}"),
        });
    }
    let mut layers = Vec::with_capacity(names.len());
    for (name, diff_id) in names.iter().zip(diff_ids) {
        let content = content(files, name, path)?;
        let encoding = encoding(store, content, name, path)?;
        if encoding == LayerEncoding::Tar && content.digest != diff_id.0 {
            return Err(ImportError::WrongLayer {
                path: path.to_owned(),
                name: name.clone(),
                found: content.digest.clone(),
                expected: diff_id.0.clone(),
            });
        }
        let media_type = MediaType::layer(MediaFamily::Oci, encoding);
        let digest = content.digest.clone();
        layers.push(Descriptor::new(media_type, digest, content.size));
    }
    let media_type = MediaType::config(MediaFamily::Oci);
    let config = Descriptor::new(media_type, config_content.digest, config_content.size);
    let manifest = Manifest::new(MediaFamily::Oci, config, layers);
    let bytes = json::indented(&manifest);
    store.blobs().put(&bytes)?;
    Ok(LoadedImage {
        names: names_of(loadable, path)?,
        target: Descriptor::of_bytes(manifest.media_type, &bytes),
    })
}

fn config(
    store: &Store,
    files: &ArchiveFiles,
    loadable: &Loadable,
    path: &Path,
) -> Result<(Content, ImageConfig)> {
    let name = &loadable.config;
    let content = content(files, name, path)?;
    if content.size > MAX_DOCUMENT_BYTES as u64 {
        return Err(ImportError::NotAnArchive {
            path: path.to_owned(),
            reason: format!("`{name}` is larger than {MAX_DOCUMENT_BYTES} bytes"),
        });
    }
    let bytes = store
        .blobs()
        .read(&content.digest, MAX_DOCUMENT_BYTES as u64)?;
    let config = ImageConfig::parse(&bytes).map_err(|source| ImportError::Config {
        path: path.to_owned(),
        name: name.clone(),
        source,
    })?;
    Ok((content.clone(), config))
}

fn content<'a>(files: &'a ArchiveFiles, name: &str, path: &Path) -> Result<&'a Content> {
    let missing = || ImportError::FileMissing {
        path: path.to_owned(),
        name: name.to_owned(),
    };
    files.content(Path::new(name)).ok_or_else(missing)
}

/// Returns how a layer is compressed, by its first bytes.
fn encoding(store: &Store, content: &Content, name: &str, path: &Path) -> Result<LayerEncoding> {
    let blob = store.blobs().path(&content.digest);
    let mut magic = Vec::new();
    let mut beginning = store.blobs().open(&content.digest)?.take(6);
    beginning.read_to_end(&mut magic).at("read", &blob)?;
    match ArchiveCompression::detect(&magic) {
        ArchiveCompression::None => Ok(LayerEncoding::Tar),
        ArchiveCompression::Gzip => Ok(LayerEncoding::TarGzip),
        ArchiveCompression::Zstd => Ok(LayerEncoding::TarZstd),
        ArchiveCompression::Bzip2 | ArchiveCompression::Xz => Err(ImportError::NotAnArchive {
            path: path.to_owned(),
            reason: format!("its layer `{name}` is neither plain nor compressed by gzip or zstd"),
        }),
    }
}

fn names_of(loadable: &Loadable, path: &Path) -> Result<Vec<Reference>> {
    let tags = loadable.repo_tags.iter().flatten();
    let parsed = tags.map(|tag| {
        tag.parse().map_err(|source| ImportError::Name {
            path: path.to_owned(),
            source,
        })
    });
    parsed.collect()
}

/// Returns the names that the archive gives the image whose configuration is `config`.
pub(super) fn names_by_config(
    files: &ArchiveFiles,
    config: &kiln_oci::Digest,
    path: &Path,
) -> Vec<Reference> {
    let listed = listed(files, path).unwrap_or_default();
    let is_same = |one: &&Loadable| {
        let content = files.content(Path::new(&one.config));
        content.is_some_and(|content| content.digest == *config)
    };
    let named = listed.iter().filter(is_same);
    named
        .flat_map(|one| names_of(one, path).unwrap_or_default())
        .collect()
}
