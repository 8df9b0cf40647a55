//! Images as an OCI image layout: a directory or an archive of one.
//!
//! Specification: OCI image-spec, image-layout.md. The names stand in annotations of
//! `index.json`, in the two ways that containerd and others look for them.

use std::fs;
use std::io;
use std::path::Path;

use kiln_disk::Store;
use kiln_oci::{Descriptor, MediaFamily, Reference};
use serde::{Deserialize, Serialize};

use super::destination::Output;
use super::parts::{self, Part, Parts, copied_all};
use super::{ArchiveOptions, Destination, image_archive};
use crate::error::Result;
use crate::image::Image;
use crate::json;
use crate::layout::{LAYOUT, REFERENCE_NAME};
use crate::pack::{self, Observer, PackedImage, Progress};
use kiln_disk::At;

const NAME: &str = "io.containerd.image.name";
const CREATED: &str = "org.opencontainers.image.created";

/// The file `index.json` of a layout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutIndex {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
}

/// Writes `images` (the platforms of one image) as an archive; returns what the names got.
pub fn write_archive(
    store: &Store,
    images: &[Image],
    options: &ArchiveOptions,
    destination: Destination<'_>,
    observe: Observer<'_>,
) -> Result<Descriptor> {
    let (mut parts, target, _) = collect(store, images, options, observe)?;
    add_index(&mut parts, Vec::new(), &target, options);
    write_parts(store, &parts, destination, observe)?;
    Ok(target)
}

/// Writes `parts` to `destination` as an archive.
pub(super) fn write_parts(
    store: &Store,
    parts: &Parts,
    destination: Destination<'_>,
    observe: Observer<'_>,
) -> Result<()> {
    let path = match &destination {
        Destination::File(path) => path.to_path_buf(),
        Destination::Stream(_) => "standard output".into(),
    };
    destination.write(|output| image_archive::write(store, parts, &path, output, observe))
}

/// Writes `images` (the platforms of one image) to the layout in `directory`, made if it is
/// not there; images of other names stay in it. Returns what the names got.
pub fn write_directory(
    store: &Store,
    images: &[Image],
    options: &ArchiveOptions,
    directory: &Path,
    observe: Observer<'_>,
) -> Result<Descriptor> {
    let (mut parts, target, _) = collect(store, images, options, observe)?;
    let mut others = read_index(directory)?;
    others.retain(|entry| !is_replaced(entry, &target, &options.names));
    add_index(&mut parts, others, &target, options);
    write_parts_to_directory(store, parts, directory, observe)?;
    Ok(target)
}

/// Writes `parts` to the layout in `directory`.
fn write_parts_to_directory(
    store: &Store,
    mut parts: Parts,
    directory: &Path,
    observe: Observer<'_>,
) -> Result<()> {
    // The index last: what it names is there when it appears.
    let index = parts.remove(Path::new("index.json"));
    for (path, part) in &parts {
        write_part(store, part, &directory.join(path), observe)?;
    }
    if let Some(index) = index {
        write_part(store, &index, &directory.join("index.json"), observe)?;
    }
    Ok(())
}

/// Returns the parts but the index, the descriptor that the names get, and the packed images.
pub(super) fn collect(
    store: &Store,
    images: &[Image],
    options: &ArchiveOptions,
    observe: Observer<'_>,
) -> Result<(Parts, Descriptor, Vec<PackedImage>)> {
    let pack_one = |image| pack::pack(store, image, &options.packing, observe);
    let packed = images.iter().map(pack_one).collect::<Result<Vec<_>>>()?;
    let mut parts = Parts::new();
    parts.insert("oci-layout".into(), Part::Bytes(LAYOUT.to_vec()));
    packed
        .iter()
        .for_each(|image| parts::add_image(&mut parts, image));
    let target = match (pack::pack_index(&packed, &options.packing), packed.first()) {
        (None, Some(image)) => image.manifest.clone(),
        (Some((descriptor, bytes)), _) => {
            parts.insert(parts::blob_path(&descriptor.digest), Part::Bytes(bytes));
            descriptor
        }
        // Only a single image can do without an index.
        (None, None) => Descriptor::of_bytes("", b""),
    };
    Ok((parts, target, packed))
}

/// Adds `index.json`: the `others`, and `target` under each of its names.
pub(super) fn add_index(
    parts: &mut Parts,
    others: Vec<Descriptor>,
    target: &Descriptor,
    options: &ArchiveOptions,
) {
    let mut manifests = others;
    manifests.extend(entries(target, options));
    put_index(parts, manifests);
}

/// Returns the entries of `index.json` for `target`: one for each of its names.
pub(super) fn entries(target: &Descriptor, options: &ArchiveOptions) -> Vec<Descriptor> {
    let names = options.names.iter();
    match options.names.is_empty() {
        true => vec![annotated(target, None, options)],
        false => names
            .map(|name| annotated(target, Some(name), options))
            .collect(),
    }
}

/// Adds `index.json` with the entries `manifests`.
pub(super) fn put_index(parts: &mut Parts, manifests: Vec<Descriptor>) {
    let media_type = kiln_oci::MediaType::index(MediaFamily::Oci).to_string();
    let index = LayoutIndex {
        schema_version: 2,
        media_type: Some(media_type),
        manifests,
    };
    parts.insert("index.json".into(), Part::Bytes(json::indented(&index)));
}

fn annotated(
    target: &Descriptor,
    name: Option<&Reference>,
    options: &ArchiveOptions,
) -> Descriptor {
    let mut descriptor = target.clone();
    let mut annotate = |key: &str, value: &str| {
        descriptor
            .annotations
            .insert(key.to_owned(), value.to_owned());
    };
    if let Some(name) = name {
        annotate(NAME, &name.to_string());
        if let Some(tag) = name.tag() {
            annotate(REFERENCE_NAME, tag);
        }
    }
    if let Some(created) = &options.created {
        annotate(CREATED, created);
    }
    descriptor
}

/// Whether the entry of a layout gives way to `target`: it has one of its names, or neither
/// has any and it is the same image.
fn is_replaced(entry: &Descriptor, target: &Descriptor, names: &[Reference]) -> bool {
    match entry.annotations.get(NAME) {
        Some(name) => names.iter().any(|one| one.to_string() == *name),
        None => entry.digest == target.digest,
    }
}

fn read_index(directory: &Path) -> Result<Vec<Descriptor>> {
    let path = directory.join("index.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Ok(Err(error).at("read", &path)?),
    };
    let index: LayoutIndex = serde_json::from_slice(&bytes).at("understand", &path)?;
    Ok(index.manifests)
}

fn write_part(store: &Store, part: &Part, path: &Path, observe: Observer<'_>) -> Result<()> {
    if let Part::Blob(descriptor) = part {
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() == descriptor.size) {
            return Ok(());
        }
        observe(Progress::Writing(descriptor.clone()));
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("make directory", parent)?;
    }
    let copy = |output: &mut Output<'_>| -> Result<()> {
        let copied = part.open(store)?.copy_to(output).at("write", path)?;
        Ok(copied_all(copied, part).at("write", path)?)
    };
    Destination::File(path).write(copy)
}
