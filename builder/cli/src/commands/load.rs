//! `kiln load`: images of an archive or a layout into the store.

use crate::arguments::{GlobalArguments, LoadArguments};
use crate::error::{Class, Failure};
use crate::lookup::image_id;
use crate::session::{Session, optional_platform, parse_reference};
use kiln_oci::{Platform, Reference};
use kiln_transfer::image::Image;
use kiln_transfer::images;
use kiln_transfer::pull::unpack_stored;
use kiln_transfer::source::load::{LoadInput, LoadedImage, load};
use std::io::IsTerminal;

pub fn run(global: &GlobalArguments, arguments: &LoadArguments) -> Result<(), Failure> {
    let names = arguments.name.iter().map(|name| parse_reference(name));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let session = Session::open(global)?;
    let platforms: Vec<Platform> = optional_platform(arguments.platform.as_deref())?
        .into_iter()
        .collect();
    let mut standard_input = std::io::stdin();
    let input = match arguments.input.as_deref() {
        Some(path) if path.as_os_str() != "-" => LoadInput::Path(path),
        _ if standard_input.is_terminal() => {
            return Err(
                Failure::usage("standard input is a terminal, not an archive")
                    .with_hint("name a file with --input, or write `kiln load < FILE`"),
            );
        }
        _ => LoadInput::Stream(&mut standard_input),
    };
    let mut loaded = load(&session.store, input, &platforms)?;
    give_names(&mut loaded, names)?;
    for image in &loaded {
        keep(&session, image, arguments.quiet)?;
    }
    Ok(())
}

fn give_names(loaded: &mut [LoadedImage], names: Vec<Reference>) -> Result<(), Failure> {
    match (names.is_empty(), loaded) {
        (true, _) => Ok(()),
        (false, [image]) => {
            image.names = names;
            Ok(())
        }
        (false, loaded) => {
            let message = format!("--name is for one image, and there are {}", loaded.len());
            Err(Failure::usage(message).with_hint("load them as they are, and use `kiln tag`"))
        }
    }
}

/// Unpacks an image, by which it is checked, and gives it its names.
fn keep(session: &Session, loaded: &LoadedImage, quiet: bool) -> Result<(), Failure> {
    let present = images::present(&session.store, &loaded.target)?;
    for image in &present {
        unpack(session, loaded.names.first(), image)?;
    }
    // A name never leads to content that is not on disk.
    session.store.sync()?;
    for name in &loaded.names {
        session.store.images().put(name, &loaded.target)?;
        match quiet {
            true => crate::output::say!("{}", name.familiar()),
            false => crate::output::say!("Loaded image: {}", with_tag(name)),
        }
    }
    if loaded.names.is_empty() {
        let id = image_id(&loaded.target, &present);
        match quiet {
            true => crate::output::say!("{id}"),
            false => crate::output::say!("Loaded image ID: {id}"),
        }
        crate::output::tell!(
            "note: the image has no name: `kiln tag` gives it one, and `kiln prune` removes it"
        );
    }
    Ok(())
}

/// Returns a name as Docker tells it: with its tag.
pub fn with_tag(name: &Reference) -> String {
    let familiar = name.familiar();
    match (name.tag(), name.digest()) {
        (Some(tag), None) if !familiar.ends_with(&format!(":{tag}")) => format!("{familiar}:{tag}"),
        _ => familiar,
    }
}

/// Unpacks the layers of `image` that are not, and checks them by that.
pub fn unpack(session: &Session, name: Option<&Reference>, image: &Image) -> Result<(), Failure> {
    let is_here = |layer: &kiln_transfer::image::ImageLayer| {
        let layer = layer.layer.as_ref();
        layer.is_some_and(|layer| session.store.layers().exists(layer))
    };
    if image.layers.iter().all(is_here) {
        return Ok(());
    }
    let nameless = match name {
        Some(name) => name.clone(),
        None => parse_reference("image")?,
    };
    unpack_stored(&session.store, &session.client, &nameless, image, &|_| {})
        .map(drop)
        .map_err(|error| Failure::from_error(Class::Image, &error))
}
