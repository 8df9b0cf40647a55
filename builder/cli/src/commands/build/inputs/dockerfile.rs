//! The Dockerfile: in the context, beside it, from standard input or from an address.

use super::Load;
use super::fetch::Fetcher;
use super::main_context::{FETCHED_NAME, http_source};
use crate::error::{Class, Failure};
use kiln_dockerfile::{ContextSource, SourceFile};
use kiln_engine::ContextFiles;
use kiln_plan::HttpSource;
use kiln_plan::remote::{Remote, redacted};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// More than any Dockerfile has that is not a mistake.
pub(super) const LARGEST_DOCKERFILE_BYTES: u64 = 16 << 20;

/// Where one is looked for, in this order.
const USUAL_NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

const HINT: &str = "name it with --file, or the directory it is in as the context";

/// Where the user says that the Dockerfile is.
pub(super) enum DockerfilePlace {
    /// In the context, under its usual name.
    Default,
    StandardInput,
    Url(HttpSource),
    File(PathBuf),
}

impl DockerfilePlace {
    /// Returns the place that `--file` names.
    pub(super) fn parse(file: Option<&str>) -> Result<Self, Failure> {
        match file {
            None | Some("") => Ok(DockerfilePlace::Default),
            Some("-") => Ok(DockerfilePlace::StandardInput),
            Some(text) => match Remote::parse(text) {
                None => Ok(DockerfilePlace::File(text.into())),
                Some(Ok(Remote::Http { url })) => Ok(DockerfilePlace::Url(http_source(url))),
                Some(_) => {
                    let message = format!("the Dockerfile {} is no file", redacted(text));
                    Err(Failure::usage(message)
                        .with_hint("name the git repository as the context of the build"))
                }
            },
        }
    }
}

/// A Dockerfile that was found.
pub(super) struct Found {
    pub(super) source: SourceFile,
    /// Where on this machine it is, relative to the context when it was looked for there.
    pub(super) path: Option<PathBuf>,
    bytes: u64,
}

impl Found {
    fn new(name: &str, path: Option<PathBuf>, bytes: &[u8]) -> Self {
        Found {
            source: SourceFile::from_bytes(name, bytes),
            path,
            bytes: bytes.len() as u64,
        }
    }

    /// Returns that it was read.
    pub(super) fn loads(&self) -> Vec<Load> {
        let name = self.source.name();
        let base = name.rsplit('/').next().unwrap_or(name);
        vec![Load {
            name: format!("[internal] load build definition from {base}"),
            part: "transferring dockerfile",
            bytes: self.bytes,
        }]
    }
}

/// Returns the Dockerfile of the usual name in the directory at `directory`.
pub(super) fn in_context(files: &ContextFiles, directory: &Path) -> Result<Found, Failure> {
    for name in USUAL_NAMES {
        let path = directory.join(name);
        let display = path
            .strip_prefix("./")
            .unwrap_or(&path)
            .display()
            .to_string();
        if let Some(bytes) = read(files, Path::new(name), &display)? {
            return Ok(Found::new(&display, Some(path), &bytes));
        }
        if std::fs::symlink_metadata(&path).is_ok() {
            let message = format!("cannot read the Dockerfile {display}");
            let reason = "it is a link to nothing in the context";
            return Err(
                Failure::new(Class::Dockerfile, format!("{message}: {reason}"))
                    .with_hint("name what it leads to with --file"),
            );
        }
    }
    Err(missing(&directory.display().to_string()))
}

/// Returns the Dockerfile of a context that is no directory of the user's: in it, unless it is
/// named by an absolute path, an address, or comes on standard input.
pub(super) fn of_remote(
    files: &ContextFiles,
    display: &str,
    place: &DockerfilePlace,
    fetcher: &Fetcher<'_>,
) -> Result<Found, Failure> {
    let names = match place {
        DockerfilePlace::Default => USUAL_NAMES.map(PathBuf::from).to_vec(),
        DockerfilePlace::File(path) if !path.is_absolute() => vec![path.clone()],
        place => return elsewhere(place, fetcher),
    };
    for name in &names {
        let shown = format!("{display}:{}", name.display());
        if let Some(bytes) = read(files, name, &shown)? {
            return Ok(Found::new(&shown, None, &bytes));
        }
    }
    match place {
        DockerfilePlace::File(path) => Err(Failure::new(
            Class::Dockerfile,
            format!("there is no file {} in {display}", path.display()),
        )
        .with_hint("--file is relative to the context where that is no directory of this machine")),
        _ => Err(missing(display)),
    }
}

/// Returns the Dockerfile that a context is which is a single file.
pub(super) fn the_file(
    files: &ContextFiles,
    display: &str,
    place: &DockerfilePlace,
    fetcher: &Fetcher<'_>,
) -> Result<Found, Failure> {
    match place {
        DockerfilePlace::Default => {
            let bytes = read(files, Path::new(FETCHED_NAME), display)?.unwrap_or_default();
            Ok(Found::new(display, None, &bytes))
        }
        DockerfilePlace::File(path) if !path.is_absolute() => {
            let message = format!("the context {display} is no archive, so it has no other file");
            Err(Failure::usage(message)
                .with_hint("leave --file out: the context is the Dockerfile"))
        }
        place => elsewhere(place, fetcher),
    }
}

fn elsewhere(place: &DockerfilePlace, fetcher: &Fetcher<'_>) -> Result<Found, Failure> {
    match place {
        DockerfilePlace::File(path) => on_this_machine(path),
        DockerfilePlace::Url(source) => fetched(source, fetcher),
        DockerfilePlace::StandardInput | DockerfilePlace::Default => {
            super::standard_input::dockerfile().map(from_bytes)
        }
    }
}

/// Returns the Dockerfile of the content `bytes`, which came on standard input.
pub(super) fn from_bytes(bytes: Vec<u8>) -> Found {
    Found::new("Dockerfile", None, &bytes)
}

/// Returns the Dockerfile at an address.
pub(super) fn fetched(source: &HttpSource, fetcher: &Fetcher<'_>) -> Result<Found, Failure> {
    let display = redacted(&source.url).into_owned();
    let name = format!("[internal] load remote Dockerfile {display}");
    let files = fetcher.fetch(&ContextSource::File(source.clone()), &name)?;
    let bytes = read(&files, Path::new(FETCHED_NAME), &display)?.unwrap_or_default();
    Ok(Found::new(&display, None, &bytes))
}

/// Returns the file at `path`, wherever links lead.
pub(super) fn on_this_machine(path: &Path) -> Result<Found, Failure> {
    let bytes = read_file(path)?;
    let display = path.display().to_string();
    Ok(Found::new(&display, Some(path.to_owned()), &bytes))
}

fn missing(place: &str) -> Failure {
    let message = format!("there is no Dockerfile in {place}");
    Failure::new(Class::Dockerfile, message).with_hint(HINT)
}

fn read(files: &ContextFiles, path: &Path, display: &str) -> Result<Option<Vec<u8>>, Failure> {
    files.read(path, LARGEST_DOCKERFILE_BYTES).map_err(|error| {
        let message = format!("cannot read the Dockerfile {display}");
        Failure::caused(Class::Dockerfile, message, &error).with_hint(HINT)
    })
}

/// Opens without blocking on a FIFO and without reading a device.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let message = || format!("cannot read the Dockerfile {}", path.display());
    let non_blocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(non_blocking)
        .open(path);
    let file = file
        .map_err(|error| Failure::caused(Class::Dockerfile, message(), &error).with_hint(HINT))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        let text = format!("{}: it is not a regular file", message());
        return Err(Failure::new(Class::Dockerfile, text).with_hint(HINT));
    }
    read_bounded(file, &path.display().to_string())
}

/// Reads all of `input`, which must not be larger than any Dockerfile is.
pub(super) fn read_bounded(input: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input
        .take(LARGEST_DOCKERFILE_BYTES + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| {
        Failure::caused(Class::Dockerfile, format!("cannot read {name}"), &error)
    })?;
    match bytes.len() as u64 > LARGEST_DOCKERFILE_BYTES {
        true => Err(Failure::new(
            Class::Dockerfile,
            format!("{name} is larger than 16 MiB"),
        )),
        false => Ok(bytes),
    }
}
