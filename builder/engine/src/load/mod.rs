//! Loads images into a running container engine, Docker or Podman, through its socket.
//!
//! Only what the engine lacks is sent. An image that it has is given its names; of another one
//! the lowest layers that it has in some image are left out of the archive, which Docker's engine
//! and Podman's accept. One that does not, such as Docker's with the image store of containerd,
//! gets all of it after that.

mod http;
mod socket;

use crate::BuildError;
use http::{Connection, HttpError};
use kiln_disk::Store;
use kiln_oci::{DiffId, Digest, Reference};
use kiln_transfer::image::Image;
use kiln_transfer::sink::{ArchiveOptions, Destination, docker_archive};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// How many images of the engine are looked at for layers.
const MOST_IMAGES: usize = 200;

/// A container engine that answers.
struct Engine {
    socket: PathBuf,
}

/// What the engine says of an image.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(rename = "RootFS", default)]
    root_fs: Option<RootFs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Option<Vec<Digest>>,
}

/// An entry of the engine's list of images.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

/// A line of what the engine says while it loads.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    error: Option<String>,
    /// What Podman says outside of a stream.
    #[serde(default)]
    cause: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Loads `images` into the engine that runs.
pub(crate) fn load(
    store: &Store,
    images: &[Image],
    options: &ArchiveOptions,
) -> Result<(), BuildError> {
    let [image] = images else {
        return Err(kiln_transfer::Error::OneImageOnly {
            target: "container engine",
            count: images.len(),
        }
        .into());
    };
    let engine = Engine {
        socket: socket::find().map_err(|reason| refused(&reason))?,
    };
    let id = &image.config_descriptor.digest;
    if engine.has(id)? {
        return options
            .names
            .iter()
            .try_for_each(|name| engine.tag(id, name));
    }
    let known = engine.known_layers(image)?;
    let thin = known.len();
    match engine.send(store, images, options, known) {
        // It may keep layers in another way than it tells.
        Err(Failed::Refused(_)) if thin > 0 => engine.send(store, images, options, BTreeSet::new()),
        other => other,
    }
    .map_err(Failed::into_error)
}

/// Why an image could not be loaded.
enum Failed {
    /// The engine did not want it.
    Refused(String),
    Other(BuildError),
}

impl Failed {
    fn into_error(self) -> BuildError {
        match self {
            Failed::Refused(reason) => refused(&reason),
            Failed::Other(error) => error,
        }
    }
}

impl Engine {
    fn connect(&self) -> Result<Connection, HttpError> {
        Connection::open(&self.socket)
    }

    fn failure(&self, error: &HttpError) -> BuildError {
        refused(&format!("{}: {error}", self.socket.display()))
    }

    /// Whether the engine has the image of this ID.
    fn has(&self, id: &Digest) -> Result<bool, BuildError> {
        let path = format!("/images/{id}/json");
        let answer = self.connect().and_then(|to| to.get(&path));
        match answer {
            Ok(answer) => Ok(answer.status == 200),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn tag(&self, id: &Digest, name: &Reference) -> Result<(), BuildError> {
        let (repository, tag) = (name.name(), name.tag().unwrap_or("latest"));
        let path = format!("/images/{id}/tag?repo={repository}&tag={tag}");
        let answer = self.connect().and_then(|to| to.post(&path));
        match answer {
            Ok(answer) if answer.status < 300 => Ok(()),
            Ok(answer) => Err(refused(&reason(&answer.body))),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Returns the layers of `image` that the engine has, those below them included. An engine
    /// that tells nothing has none.
    fn known_layers(&self, image: &Image) -> Result<BTreeSet<DiffId>, BuildError> {
        let wanted: Vec<&Digest> = image.layers.iter().map(|one| &one.diff_id.0).collect();
        let listed = self.connect().and_then(|to| to.get("/images/json"));
        let listed = listed.map_err(|error| self.failure(&error))?;
        let listed: Vec<Listed> = serde_json::from_slice(&listed.body).unwrap_or_default();
        let mut most = 0;
        for one in listed.iter().take(MOST_IMAGES) {
            let layers = self.layers_of(&one.id);
            let same = layers.iter().zip(&wanted);
            most = most.max(same.take_while(|(one, other)| *one == **other).count());
        }
        let known = image.layers.iter().take(most);
        Ok(known.map(|layer| layer.diff_id.clone()).collect())
    }

    fn layers_of(&self, id: &str) -> Vec<Digest> {
        let is_id = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b':');
        let answer = match is_id {
            true => self
                .connect()
                .and_then(|to| to.get(&format!("/images/{id}/json"))),
            false => return Vec::new(),
        };
        // It may just have been removed.
        let body = answer.map(|answer| answer.body).unwrap_or_default();
        let inspected = serde_json::from_slice::<Inspected>(&body).ok();
        let root_fs = inspected.and_then(|inspected| inspected.root_fs);
        root_fs
            .and_then(|root_fs| root_fs.layers)
            .unwrap_or_default()
    }

    fn send(
        &self,
        store: &Store,
        images: &[Image],
        options: &ArchiveOptions,
        receiver_has: BTreeSet<DiffId>,
    ) -> Result<(), Failed> {
        let mut options = options.clone();
        options.packing.receiver_has = receiver_has;
        let failed = |error: HttpError| Failed::Other(self.failure(&error));
        let mut upload = self
            .connect()
            .and_then(|to| to.upload("/images/load?quiet=1", "application/x-tar"))
            .map_err(failed)?;
        let destination = Destination::Stream(&mut upload);
        let written = docker_archive::write(store, images, &options, destination, &|_| {});
        // An engine that refuses may not read to the end: what it says tells more.
        let answer = match (upload.finish(), written) {
            (Ok(answer), _) if answer.status >= 300 => answer,
            (_, Err(error)) => return Err(Failed::Other(error.into())),
            (Ok(answer), Ok(_)) => answer,
            (Err(error), Ok(_)) => return Err(failed(error)),
        };
        match (answer.status, error_in(&answer.body)) {
            (200..300, None) => Ok(()),
            (_, Some(reason)) => Err(Failed::Refused(reason)),
            (status, None) => Err(Failed::Refused(format!("it answered {status}"))),
        }
    }
}

/// Returns what went wrong, if the engine says so in the stream of what it does.
fn error_in(body: &[u8]) -> Option<String> {
    let lines = serde_json::Deserializer::from_slice(body).into_iter::<Said>();
    let mut said = lines.map_while(Result::ok);
    said.find_map(|said| said.error.or(said.cause).or(said.message))
}

fn reason(body: &[u8]) -> String {
    error_in(body).unwrap_or_else(|| "it gave no reason".to_owned())
}

fn refused(reason: &str) -> BuildError {
    BuildError::Output {
        output: "type=docker".to_owned(),
        reason: format!("cannot load the image into the container engine: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::error_in;

    #[test]
    fn errors_are_found_in_streams_and_in_single_answers() {
        let stream = b"{\"stream\":\"Loaded image: a\"}\r\n{\"error\":\"no space\"}\r\n";
        assert_eq!(error_in(stream).as_deref(), Some("no space"));
        assert_eq!(error_in(b"{\"message\":\"bad\"}").as_deref(), Some("bad"));
        assert_eq!(error_in(b"{\"stream\":\"Loaded image: a\"}\n"), None);
        assert_eq!(error_in(b"not json"), None);
    }
}
