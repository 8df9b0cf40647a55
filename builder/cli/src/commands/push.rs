//! `kiln push`: an image from the store to its registry.

use crate::arguments::{GlobalArguments, PushArguments, parse_compression};
use crate::error::{Class, Failure};
use crate::session::{Session, named_image, parse_reference};
use kiln_transfer::image;
use kiln_transfer::pack::{Absent, Packing};
use kiln_transfer::push::Naming;

pub fn run(global: &GlobalArguments, arguments: &PushArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let reference = parse_reference(&arguments.name)?;
    let compression = parse_compression(&arguments.compression, None).ok_or_else(|| {
        Failure::usage(format!(
            "compression `{}` is not supported",
            arguments.compression
        ))
        .with_hint("use gzip, zstd or uncompressed")
    })?;
    let named = named_image(&session.store, &reference)?;
    let images = image::load_all(&session.store, &named.target)?;
    let packing = Packing {
        compression,
        absent: Absent::Describe,
        listing: image::Listing::of(&named.target),
        annotations: image::index_annotations(&session.store, &named.target)?,
        ..Packing::standard()
    };
    let pushed = kiln_transfer::push::push(
        &session.store,
        &session.client,
        &images,
        &reference,
        &packing,
        Naming::Reference,
        &|event| {
            if !arguments.quiet {
                crate::output::tell!("{event}");
            }
        },
    )
    .map_err(|error| Failure::from_error(Class::Image, &error))?;
    match arguments.quiet {
        true => crate::output::say!("{}", pushed.digest),
        false => crate::output::say!("{reference} {}", pushed.digest),
    }
    Ok(())
}
