//! An image as an archive for `docker load`: an OCI layout with a `manifest.json` that says
//! where the configuration and the layers lie, which all readers of either form understand.

use std::path::PathBuf;

use kiln_disk::Store;
use kiln_oci::{Descriptor, Digest, Reference};
use serde::Serialize;

use super::parts::{Part, Parts, blob_path};
use super::{ArchiveOptions, Destination, oci_layout};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::pack::{Observer, PackedImage};

/// An entry of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Loadable {
    config: PathBuf,
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

/// Writes `image` as an archive; returns what the names got.
///
/// Errors: [`Error::OneImageOnly`] for several platforms, which `docker load` does not know.
pub fn write(
    store: &Store,
    images: &[Image],
    options: &ArchiveOptions,
    destination: Destination<'_>,
    observe: Observer<'_>,
) -> Result<Descriptor> {
    let (mut parts, target, packed) = oci_layout::collect(store, images, options, observe)?;
    let [image] = packed.as_slice() else {
        return Err(Error::OneImageOnly {
            target: "Docker archive",
            count: images.len(),
        });
    };
    leave_out(&mut parts, image, options);
    oci_layout::add_index(&mut parts, Vec::new(), &target, options);
    put_manifest(&mut parts, &[loadable(image, &options.names)]);
    oci_layout::write_parts(store, &parts, destination, observe)?;
    Ok(target)
}

/// Takes out what the receiver has.
fn leave_out(parts: &mut Parts, image: &PackedImage, options: &ArchiveOptions) {
    let known = &options.packing.receiver_has;
    let layers = image.layers.iter().zip(&image.diff_ids);
    let (out, kept): (Vec<_>, Vec<_>) = layers.partition(|(_, diff_id)| known.contains(diff_id));
    for (layer, _) in out {
        if kept.iter().all(|(other, _)| other.digest != layer.digest) {
            parts.remove(&blob_path(&layer.digest));
        }
    }
}

/// Adds the list of what can be loaded.
pub(super) fn put_manifest(parts: &mut Parts, listed: &[Loadable]) {
    let manifest = serde_json::to_vec(listed).unwrap_or_default();
    parts.insert("manifest.json".into(), Part::Bytes(manifest));
}

/// Returns the entry for `image` under `names`.
pub(super) fn loadable(image: &PackedImage, names: &[Reference]) -> Loadable {
    let path = |digest: &Digest| blob_path(digest);
    let tags: Vec<_> = names.iter().filter_map(repository_tag).collect();
    Loadable {
        config: path(&image.config.digest),
        repo_tags: (!tags.is_empty()).then_some(tags),
        layers: image
            .layers
            .iter()
            .map(|layer| path(&layer.digest))
            .collect(),
    }
}

/// Returns a name in the short form that Docker shows, with its tag; none if it has no tag.
fn repository_tag(name: &Reference) -> Option<String> {
    let (familiar, tag) = (name.familiar(), name.tag()?);
    match familiar.ends_with(&format!(":{tag}")) {
        true => Some(familiar),
        false => Some(format!("{familiar}:{tag}")),
    }
}
