//! The images that a list is made of.

use crate::arguments::ManifestCreateArguments;
use crate::commands::copy::class_of;
use crate::error::{Class, Failure};
use crate::lookup;
use crate::session::{Session, parse_reference};
use kiln_engine::registry::Client;
use kiln_oci::{
    AnnotationLevel, Annotations, Descriptor, Digest, Document, ImageConfig, Index,
    MAX_DOCUMENT_BYTES, Manifest, Platform, Reference,
};
use kiln_transfer::arrival::set_source;
use kiln_transfer::copy::{Fetched, RegistryPlace, Source};
use kiln_transfer::pull::{PullPolicy, resolve};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// An image, or several, that a list is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Named(String),
    /// A descriptor that a build left, in the repository that is said, or in that of the list.
    Described {
        digest: Digest,
        repository: Option<String>,
    },
}

/// Returns what the arguments and the files that they name want.
pub fn wanted(arguments: &ManifestCreateArguments) -> Result<Vec<Wanted>, Failure> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for path in &arguments.file {
        wanted.extend(read(path)?);
    }
    wanted.extend(arguments.images.iter().cloned().map(Wanted::Named));
    Ok(wanted)
}

fn read(path: &Path) -> Result<Vec<Wanted>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::caused(
            Class::Usage,
            format!("cannot read {}", path.display()),
            &error,
        )
    })?;
    if !text.trim_start().starts_with('{') {
        let lines = text.lines().map(str::trim);
        let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        return Ok(names.map(|name| Wanted::Named(name.to_owned())).collect());
    }
    described(&text).map(|one| vec![one]).ok_or_else(|| {
        Failure::usage(format!("{} has no descriptor", path.display()))
            .with_hint("name a descriptor, the file of --metadata-file, or a list of names")
    })
}

/// Returns what a descriptor, or the metadata file of a build, describes.
fn described(text: &str) -> Option<Wanted> {
    let value: Value = serde_json::from_str(text).ok()?;
    let descriptor = value.get("containerimage.descriptor").unwrap_or(&value);
    let name = value.get("image.name").and_then(Value::as_str);
    let repository = name.and_then(|names| names.split(',').next());
    Some(Wanted::Described {
        digest: descriptor.get("digest")?.as_str()?.parse().ok()?,
        repository: repository.map(str::to_owned),
    })
}

/// Returns the place in a registry that `wanted` is in, for the list `name`.
pub fn place<'a>(
    client: &'a Client,
    wanted: &Wanted,
    name: &Reference,
) -> Result<RegistryPlace<'a>, Failure> {
    let reference = match wanted {
        Wanted::Named(text) => parse_reference(text.strip_prefix("docker://").unwrap_or(text))?,
        Wanted::Described { digest, repository } => {
            let repository = repository.as_deref().map(parse_reference).transpose()?;
            let repository = repository.unwrap_or_else(|| name.clone());
            repository.with_digest(digest.clone())
        }
    };
    Ok(RegistryPlace { client, reference })
}

/// Returns the entries of an image or list in a registry, those for `platforms` only if any
/// are named.
pub fn in_registry(
    place: &RegistryPlace<'_>,
    platforms: &[Platform],
) -> Result<Vec<Descriptor>, Failure> {
    let fetched = place.target().map_err(|error| failure(place, &error))?;
    match &fetched.document {
        Document::Manifest(manifest) => {
            let mut descriptor = plain(&fetched);
            if manifest.is_image() {
                descriptor.platform = Some(platform_of(place, manifest)?);
            }
            Ok(vec![descriptor])
        }
        Document::Index(index) => chosen(index, platforms, &place.to_string()),
    }
}

fn plain(fetched: &Fetched) -> Descriptor {
    let Descriptor {
        media_type,
        digest,
        size,
        ..
    } = fetched.descriptor.clone();
    Descriptor::new(media_type, digest, size)
}

fn chosen(index: &Index, platforms: &[Platform], title: &str) -> Result<Vec<Descriptor>, Failure> {
    if platforms.is_empty() {
        return Ok(index.manifests.clone());
    }
    let select = |platform: &Platform| {
        index.select(platform).cloned().ok_or_else(|| {
            Failure::new(Class::Image, format!("{title} has no image for {platform}"))
                .with_hint("`kiln manifest inspect` shows what it has")
        })
    };
    platforms.iter().map(select).collect()
}

fn platform_of(place: &RegistryPlace<'_>, manifest: &Manifest) -> Result<Platform, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        let message = format!("cannot read the configuration of {place}");
        Failure::caused(Class::Image, message, error)
    };
    let reader = place
        .open(&manifest.config, 0)
        .map_err(|error| cannot(&error))?;
    let mut bytes = Vec::new();
    let mut reader = reader.take(MAX_DOCUMENT_BYTES as u64);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(&error))?;
    let config = ImageConfig::parse(&bytes).map_err(|error| cannot(&error))?;
    Ok(config.platform())
}

/// Returns the failure of a place in a registry.
pub fn failure(place: &dyn Source, error: &kiln_transfer::copy::CopyError) -> Failure {
    Failure::caused(class_of(error), format!("cannot use {place}"), error)
}

/// Returns the entries of an image or list of the store, or else of a registry, whose documents
/// are in the store then: layers that are not may come from where they are when it is pushed.
pub fn in_store(
    session: &Session,
    wanted: &Wanted,
    name: &Reference,
    platforms: &[Platform],
) -> Result<Vec<Descriptor>, Failure> {
    let store = &session.store;
    if let Wanted::Named(text) = wanted
        && !text.starts_with("docker://")
        && let Ok(found) = lookup::find(store, text)
    {
        let images = match platforms {
            [] => crate::commands::save::images_of(store, &found)?,
            platforms => {
                let image = |platform| found.image(store, Some(platform));
                platforms.iter().map(image).collect::<Result<_, _>>()?
            }
        };
        return Ok(images.into_iter().map(|image| image.manifest).collect());
    }
    let place = place(&session.client, wanted, name)?;
    let mut entries = in_registry(&place, platforms)?;
    // What tells of other images is nothing that the store keeps.
    entries.retain(|entry| {
        let platform = entry.platform.as_ref();
        platform.is_some_and(|platform| platform.os != "unknown")
    });
    for entry in &entries {
        fetch(session, &place.reference, entry)?;
    }
    Ok(entries)
}

fn fetch(session: &Session, reference: &Reference, entry: &Descriptor) -> Result<(), Failure> {
    let pinned = reference.with_digest(entry.digest.clone());
    let platform = entry.platform.clone().unwrap_or_else(Platform::host);
    let (store, client) = (&session.store, &session.client);
    let image = resolve(store, client, &pinned, &platform, PullPolicy::Always)?;
    let layers = image.manifest.layers.iter();
    for (diff_id, layer) in image.config.rootfs.diff_ids.iter().zip(layers) {
        set_source(store, diff_id, layer, &pinned)?;
    }
    Ok(())
}

/// Adds `entries` to those of `index`, in the place of those with the same digest.
pub fn add(index: &mut Index, entries: Vec<Descriptor>) {
    for entry in entries {
        index.manifests.retain(|other| other.digest != entry.digest);
        index.manifests.push(entry);
    }
}

/// Annotates the list and its entries.
pub fn annotate(index: &mut Index, annotations: &Annotations) -> Result<(), Failure> {
    let is_possible = |level| {
        matches!(
            level,
            AnnotationLevel::Index | AnnotationLevel::ManifestDescriptor
        )
    };
    if let Some(one) = annotations.iter().find(|one| !is_possible(one.level)) {
        let (key, level) = (&one.key, one.level.name());
        let message = format!("annotation `{key}` cannot stand at the level `{level}`");
        return Err(Failure::usage(message)
            .with_hint("a list has the levels index and manifest-descriptor: index:KEY=VALUE"));
    }
    let own = annotations.at_index(AnnotationLevel::Index);
    index.annotations.extend(own);
    for entry in &mut index.manifests {
        let platform = entry.platform.clone().unwrap_or_else(Platform::host);
        let own = annotations.at(AnnotationLevel::ManifestDescriptor, &platform);
        entry.annotations.extend(own);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_from_metadata_files_too() {
        let digest = Digest::sha256(b"x");
        let plain = format!(r#"{{"digest":"{digest}","size":1}}"#);
        let metadata = format!(
            r#"{{"containerimage.descriptor":{plain},"image.name":"r.example/a:1,r.example/b"}}"#
        );
        let expected = |repository: Option<&str>| Wanted::Described {
            digest: digest.clone(),
            repository: repository.map(str::to_owned),
        };
        assert_eq!(described(&plain), Some(expected(None)));
        assert_eq!(described(&metadata), Some(expected(Some("r.example/a:1"))));
        assert_eq!(described("{}"), None);
    }
}
