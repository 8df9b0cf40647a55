//! `kiln save`: images as an archive, or as a layout.

use crate::arguments::{GlobalArguments, SaveArguments, parse_compression};
use crate::error::{Class, Failure};
use crate::lookup::{self, Found};
use crate::session::{Session, optional_platform};
use kiln_engine::Compression;
use kiln_engine::disk::Store;
use kiln_oci::{MediaFamily, Platform};
use kiln_transfer::image::{self, Image};
use kiln_transfer::images;
use kiln_transfer::pack::{Packing, StoredIndex};
use kiln_transfer::sink::save::{self, Saved};
use kiln_transfer::sink::{ArchiveOptions, Destination};
use std::io::IsTerminal;

pub fn run(global: &GlobalArguments, arguments: &SaveArguments) -> Result<(), Failure> {
    let compression = compression(&arguments.compression)?;
    let platform = optional_platform(arguments.platform.as_deref())?;
    let session = Session::open(global)?;
    let store = &session.store;
    let is_docker = arguments.format == "docker";
    let mut saved: Vec<(Found, Saved)> = Vec::new();
    for name in &arguments.names {
        let found = lookup::find(store, name)?;
        let same = saved
            .iter_mut()
            .find(|(other, _)| other.target.digest == found.target.digest);
        match same {
            Some((_, saved)) => saved.options.names.extend(found.name),
            None => {
                let one = saved_image(store, &found, platform.as_ref(), is_docker, compression)?;
                saved.push((found, one));
            }
        }
    }
    let saved: Vec<Saved> = saved.into_iter().map(|(_, saved)| saved).collect();
    write(store, arguments, &saved)
}

fn write(store: &Store, arguments: &SaveArguments, saved: &[Saved]) -> Result<(), Failure> {
    let path = arguments.output.as_deref();
    let path = path.filter(|path| path.as_os_str() != "-");
    if arguments.format == "oci-dir" {
        let directory = path.ok_or_else(|| {
            Failure::usage("--format oci-dir needs a directory").with_hint("name it with --output")
        })?;
        return Ok(save::oci_directory(store, saved, directory, &|_| {})?);
    }
    let mut standard_output = std::io::stdout();
    let destination = match path {
        Some(path) => Destination::File(path),
        None if standard_output.is_terminal() => {
            return Err(Failure::usage("an archive is not written to a terminal")
                .with_hint("name a file with --output, or redirect standard output"));
        }
        None => Destination::Stream(&mut standard_output),
    };
    match arguments.format.as_str() {
        "docker" => save::docker_archive(store, saved, destination, &|_| {})?,
        _ => save::oci_archive(store, saved, destination, &|_| {})?,
    }
    Ok(())
}

/// Returns the compression called `name`.
pub fn compression(name: &str) -> Result<Compression, Failure> {
    parse_compression(name, None).ok_or_else(|| {
        Failure::usage(format!("compression `{name}` is not supported"))
            .with_hint("use gzip, zstd or uncompressed")
    })
}

fn saved_image(
    store: &Store,
    found: &Found,
    platform: Option<&Platform>,
    is_docker: bool,
    compression: Compression,
) -> Result<Saved, Failure> {
    let images = match platform.is_some() || is_docker {
        true => vec![found.image(store, platform)?],
        false => images_of(store, found)?,
    };
    let is_whole = platform.is_none() && !is_docker;
    let packing = packing(store, found, &images, is_whole, compression)?;
    let names = found.name.iter().cloned().collect();
    Ok(Saved {
        images,
        options: ArchiveOptions {
            names,
            packing,
            created: None,
        },
    })
}

/// Returns the images of all platforms that the store has.
pub fn images_of(store: &Store, found: &Found) -> Result<Vec<Image>, Failure> {
    let images = images::present(store, &found.target)?;
    match images.is_empty() {
        false => Ok(images),
        true => {
            let message = format!("the store has no platform of {}", found.title());
            Err(Failure::new(Class::Image, message)
                .with_hint("pull one with `kiln pull --platform`"))
        }
    }
}

/// Returns how `images` are packed: so that what was pulled or loaded keeps its digest.
pub fn packing(
    store: &Store,
    found: &Found,
    images: &[Image],
    is_whole: bool,
    compression: Compression,
) -> Result<Packing, Failure> {
    let family = |image: &Image| image.manifest.media_type.family();
    let family = images.first().and_then(family).unwrap_or(MediaFamily::Oci);
    // The platform that was pulled of an index for many stands alone.
    let is_whole = is_whole && (images.len() > 1 || images::is_complete(store, &found.target)?);
    Ok(Packing {
        compression,
        family,
        listing: match is_whole {
            true => image::Listing::of(&found.target),
            false => image::Listing::Several,
        },
        annotations: image::index_annotations(store, &found.target)?,
        index: match is_whole {
            true => StoredIndex::read(store, &found.target)?,
            false => None,
        },
        ..Packing::standard()
    })
}
