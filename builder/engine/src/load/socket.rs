//! Where a container engine listens.
//!
//! What the user names counts alone: `DOCKER_HOST`, the context of Docker's client,
//! `CONTAINER_HOST`. Without any of them the first usual socket that answers is taken.

use kiln_oci::Digest;
use serde_json::Value;
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Returns the socket of the engine that runs, or why there is none.
pub(super) fn find() -> Result<PathBuf, String> {
    let environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let candidates = match named(&environment)? {
        Some(path) => vec![path],
        None => usual(&environment),
    };
    let mut tried = Vec::new();
    for path in candidates {
        match UnixStream::connect(&path) {
            Ok(_) => return Ok(path),
            Err(error) => tried.push(format!("{} ({})", path.display(), in_short(&error))),
        }
    }
    Err(format!(
        "no container engine answers at {}",
        tried.join(", ")
    ))
}

fn in_short(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "not there",
        std::io::ErrorKind::PermissionDenied => "permission denied",
        std::io::ErrorKind::ConnectionRefused => "nobody listens",
        _ => "cannot be used",
    }
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Returns the socket that the user names.
fn named(environment: Environment<'_>) -> Result<Option<PathBuf>, String> {
    if let Some(host) = environment("DOCKER_HOST") {
        return socket_of("DOCKER_HOST", &host.to_string_lossy()).map(Some);
    }
    if let Some(host) = of_context(environment) {
        return socket_of("Docker's context", &host).map(Some);
    }
    match environment("CONTAINER_HOST") {
        Some(host) => socket_of("CONTAINER_HOST", &host.to_string_lossy()).map(Some),
        None => Ok(None),
    }
}

fn socket_of(who: &str, address: &str) -> Result<PathBuf, String> {
    let path = address.strip_prefix("unix://");
    path.map(PathBuf::from).ok_or_else(|| {
        format!("{who} names `{address}`, and only sockets of this machine are spoken to")
    })
}

/// Returns the address in the context of Docker's client, unless it is the usual one.
fn of_context(environment: Environment<'_>) -> Option<String> {
    let folder = match environment("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(environment("HOME")?).join(".docker"),
    };
    let name = match environment("DOCKER_CONTEXT") {
        Some(name) => name.to_string_lossy().into_owned(),
        None => read(&folder.join("config.json"))?["currentContext"]
            .as_str()?
            .to_owned(),
    };
    if name.is_empty() || name == "default" {
        return None;
    }
    let id = Digest::sha256(name.as_bytes());
    let path = folder
        .join("contexts/meta")
        .join(id.hex())
        .join("meta.json");
    let meta = read(&path)?;
    Some(meta["Endpoints"]["docker"]["Host"].as_str()?.to_owned())
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Returns where engines listen unless told otherwise.
fn usual(environment: Environment<'_>) -> Vec<PathBuf> {
    let runtime = environment("XDG_RUNTIME_DIR").map(PathBuf::from);
    let home = environment("HOME").map(PathBuf::from);
    let mut paths = vec![PathBuf::from("/var/run/docker.sock")];
    paths.extend(runtime.iter().map(|folder| folder.join("docker.sock")));
    paths.extend(home.iter().map(|home| home.join(".docker/run/docker.sock")));
    paths.extend(
        runtime
            .iter()
            .map(|folder| folder.join("podman/podman.sock")),
    );
    paths.push(PathBuf::from("/run/podman/podman.sock"));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_names_counts_alone() {
        let host = |name: &str| (name == "DOCKER_HOST").then(|| OsString::from("unix:///a/s"));
        assert_eq!(named(&host), Ok(Some(PathBuf::from("/a/s"))));
        let remote = |name: &str| (name == "DOCKER_HOST").then(|| OsString::from("tcp://a:1"));
        assert!(named(&remote).unwrap_err().contains("`tcp://a:1`"));
        assert_eq!(named(&|_| None), Ok(None));
    }

    #[test]
    fn context_of_dockers_client_names_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder
            .path()
            .join("contexts/meta")
            .join(Digest::sha256(b"mine").hex());
        std::fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Endpoints": {"docker": {"Host": "unix:///mine"}}}"#;
        std::fs::write(meta.join("meta.json"), text).unwrap();
        std::fs::write(
            folder.path().join("config.json"),
            r#"{"currentContext": "mine"}"#,
        )
        .unwrap();
        let environment =
            |name: &str| (name == "DOCKER_CONFIG").then(|| folder.path().as_os_str().to_owned());
        assert_eq!(named(&environment), Ok(Some(PathBuf::from("/mine"))));
    }
}
