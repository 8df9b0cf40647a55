//! Standard input: a Dockerfile, or an archive that is the context.

use super::dockerfile::read_bounded;
use crate::error::{Class, Failure};
use kiln_engine::is_archive;
use std::io::{IsTerminal, Read, Stdin, stdin};

const NAME: &str = "standard input";

/// Bytes that tell an archive.
const HEAD_BYTES: u64 = 512;

/// What standard input has.
pub(super) enum Piped {
    Dockerfile(Vec<u8>),
    /// An archive, read up to the end of `head`.
    Archive {
        head: Vec<u8>,
        rest: Stdin,
    },
}

/// Returns what standard input has, told by its first bytes.
pub(super) fn read() -> Result<Piped, Failure> {
    let head = head()?;
    if is_archive(&head) {
        let rest = stdin();
        return Ok(Piped::Archive { head, rest });
    }
    let bytes = read_bounded(head.chain(stdin()), NAME)?;
    Ok(Piped::Dockerfile(bytes))
}

/// Returns the Dockerfile on standard input.
pub(super) fn dockerfile() -> Result<Vec<u8>, Failure> {
    match read()? {
        Piped::Dockerfile(bytes) => Ok(bytes),
        Piped::Archive { .. } => Err(Failure::new(
            Class::Dockerfile,
            "standard input is an archive, not a Dockerfile",
        )
        .with_hint("give `-` as the context instead, if the archive has the Dockerfile")),
    }
}

fn head() -> Result<Vec<u8>, Failure> {
    if stdin().is_terminal() {
        return Err(
            Failure::usage("standard input is a terminal: there is nothing to read")
                .with_hint("pipe a Dockerfile or a tar archive in, or name a directory"),
        );
    }
    let mut head = Vec::new();
    stdin()
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|error| {
            Failure::caused(Class::Dockerfile, format!("cannot read {NAME}"), &error)
        })?;
    match head.is_empty() {
        false => Ok(head),
        true => Err(Failure::new(Class::Dockerfile, "standard input is empty")
            .with_hint("pipe a Dockerfile or a tar archive in")),
    }
}
