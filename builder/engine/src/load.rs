//! Loads images into a running container engine by its own command.
//!
//! The archive goes through a pipe, so it is never on disk twice.

use crate::BuildError;
use kiln_disk::Store;
use kiln_transfer::image::Image;
use kiln_transfer::sink::{ArchiveOptions, Destination, docker_archive};
use std::io::{Error, ErrorKind};
use std::process::{Child, Command, Stdio};

/// Commands that load archives, in the order in which they are tried.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// Loads `images` into Docker, else into Podman.
pub(crate) fn load(
    store: &Store,
    images: &[Image],
    options: &ArchiveOptions,
) -> Result<(), BuildError> {
    let (engine, mut child) = start()?;
    let mut input = child
        .stdin
        .take()
        .ok_or_else(|| refused(engine, "it takes no input"))?;
    let written = docker_archive::write(
        store,
        images,
        options,
        Destination::Stream(&mut input),
        &|_| {},
    );
    drop(input);
    let output = child
        .wait_with_output()
        .map_err(|error| refused(engine, &error.to_string()))?;
    if !output.status.success() {
        return Err(refused(
            engine,
            String::from_utf8_lossy(&output.stderr).trim(),
        ));
    }
    written?;
    Ok(())
}

fn start() -> Result<(&'static str, Child), BuildError> {
    for engine in ENGINES {
        let started = Command::new(engine)
            .arg("load")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match started {
            Ok(child) => return Ok((engine, child)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(refused(engine, &Error::to_string(&error))),
        }
    }
    Err(refused(
        ENGINES[0],
        "neither docker nor podman is installed",
    ))
}

fn refused(engine: &str, reason: &str) -> BuildError {
    BuildError::Output {
        output: "type=docker".to_owned(),
        reason: format!("{engine} load: {reason}"),
    }
}
