//! Several images in one archive or layout, each under its names; what they share is there once.

use std::path::Path;

use kiln_disk::Store;
use kiln_oci::Descriptor;

use super::parts::Parts;
use super::{ArchiveOptions, Destination, docker_archive, oci_layout};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::pack::Observer;

/// An image that is saved, with its names and how it is packed.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The platforms of the image.
    pub images: Vec<Image>,
    /// Its names, and how it is packed.
    pub options: ArchiveOptions,
}

/// Writes the images as an archive for `docker load`.
///
/// Errors: [`Error::OneImageOnly`] for an image of several platforms, which it does not know.
pub fn docker_archive(
    store: &Store,
    saved: &[Saved],
    destination: Destination<'_>,
    observe: Observer<'_>,
) -> Result<()> {
    let (mut parts, mut entries, mut listed) = (Parts::new(), Vec::new(), Vec::new());
    for one in saved {
        let (own, target, packed) = oci_layout::collect(store, &one.images, &one.options, observe)?;
        let [image] = packed.as_slice() else {
            return Err(Error::OneImageOnly {
                target: "Docker archive",
                count: packed.len(),
            });
        };
        parts.extend(own);
        entries.extend(oci_layout::entries(&target, &one.options));
        listed.push(docker_archive::loadable(image, &one.options.names));
    }
    oci_layout::put_index(&mut parts, entries);
    docker_archive::put_manifest(&mut parts, &listed);
    oci_layout::write_parts(store, &parts, destination, observe)
}

/// Writes the images as an archive of an OCI layout.
pub fn oci_archive(
    store: &Store,
    saved: &[Saved],
    destination: Destination<'_>,
    observe: Observer<'_>,
) -> Result<()> {
    let (mut parts, entries) = collect(store, saved, observe)?;
    oci_layout::put_index(&mut parts, entries);
    oci_layout::write_parts(store, &parts, destination, observe)
}

/// Writes the images to the OCI layout in `directory`, made if it is not there; images of other
/// names stay in it.
pub fn oci_directory(
    store: &Store,
    saved: &[Saved],
    directory: &Path,
    observe: Observer<'_>,
) -> Result<()> {
    for one in saved {
        oci_layout::write_directory(store, &one.images, &one.options, directory, observe)?;
    }
    Ok(())
}

fn collect(
    store: &Store,
    saved: &[Saved],
    observe: Observer<'_>,
) -> Result<(Parts, Vec<Descriptor>)> {
    let (mut parts, mut entries) = (Parts::new(), Vec::new());
    for one in saved {
        let (own, target, _) = oci_layout::collect(store, &one.images, &one.options, observe)?;
        parts.extend(own);
        entries.extend(oci_layout::entries(&target, &one.options));
    }
    Ok((parts, entries))
}
