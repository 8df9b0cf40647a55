//! `kiln pull`: an image from a registry into the store.

use crate::arguments::{GlobalArguments, PullArguments};
use crate::error::{Class, Failure};
use crate::session::{Session, parse_platform, parse_reference};
use kiln_oci::Platform;
use kiln_transfer::pull::{PullEvent, pull};

pub fn run(global: &GlobalArguments, arguments: &PullArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let reference = parse_reference(&arguments.name)?;
    let platform = arguments
        .platform
        .as_deref()
        .map(parse_platform)
        .transpose()?;
    let platform = platform.unwrap_or_else(Platform::host);
    let observer = |event: PullEvent| {
        if !arguments.quiet {
            tell(&event);
        }
    };
    let pulled = pull(
        &session.store,
        &session.client,
        &reference,
        &platform,
        &observer,
    )
    .map_err(|error| Failure::from_error(Class::Image, &error))?;
    match arguments.quiet {
        true => crate::output::say!("{}", pulled.manifest.digest),
        false => crate::output::say!("{} {}", reference, pulled.manifest.digest),
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
