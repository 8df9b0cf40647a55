//! `kiln pull`: images from a registry into the store.

use crate::arguments::{GlobalArguments, PullArguments};
use crate::error::{Class, Failure};
use crate::session::{Session, optional_platform, parse_reference};
use kiln_oci::{Platform, Reference};
use kiln_transfer::pull::{PullEvent, PullPolicy, resolve, unpack_layers};

pub fn run(global: &GlobalArguments, arguments: &PullArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let reference = parse_reference(&arguments.name)?;
    let platform = optional_platform(arguments.platform.as_deref())?;
    let platform = platform.unwrap_or_else(Platform::host);
    if !arguments.all_tags {
        return pull(&session, &reference, &platform, arguments.quiet);
    }
    super::push::refuse_tag(&arguments.name)?;
    let tags = session.client.tags(&reference)?;
    for tag in tags {
        let reference = reference.with_tag(&tag).map_err(|error| {
            Failure::caused(Class::Image, "the registry has a tag that is none", &error)
        })?;
        pull(&session, &reference, &platform, arguments.quiet)?;
    }
    Ok(())
}

fn pull(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
    quiet: bool,
) -> Result<(), Failure> {
    let observer = |event: PullEvent| {
        if !quiet {
            tell(&event);
        }
    };
    let (store, client) = (&session.store, &session.client);
    let image = resolve(store, client, reference, platform, PullPolicy::Always)?;
    unpack_layers(store, client, &image, &observer)?;
    if reference.digest().is_some() {
        // It is listed by its digest, and kept.
        store.images().put(reference, &image.target)?;
    }
    let digest = image.digest();
    match quiet {
        true => crate::output::say!("{digest}"),
        false => crate::output::say!("{reference} {digest}"),
    }
    Ok(())
}

fn tell(event: &PullEvent) {
    match event {
        PullEvent::Downloading {
            blob,
            bytes,
            total_bytes,
        } if bytes == total_bytes => {
            crate::output::tell!("{blob} downloaded");
        }
        PullEvent::Downloading { .. } | PullEvent::Unpacking { .. } => {}
        PullEvent::Waiting { blob, .. } => {
            crate::output::tell!("{blob} waiting for another process that pulls it");
        }
        PullEvent::Unpacked { blob } => crate::output::tell!("{blob} unpacked"),
        PullEvent::Present { blob } => crate::output::tell!("{blob} present"),
    }
}
