//! Logins in the files of Docker and of the containers tools: kept and forgotten.
//!
//! The files are shared with other programs. Whatever else stands in them stays, in its order; a
//! file that appears is for its owner alone, and appears whole or not at all. Where a file names a
//! credential helper, the secret goes there and not into the file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// A user's name and password for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry's host, with its port if one is named.
    pub registry: String,
    /// Who it is.
    pub user: String,
    /// The proof of it.
    pub password: String,
}

/// Says nothing of the password.
impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Login({} at {})", self.user, self.registry)
    }
}

/// Where a login was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptIn {
    /// In the file itself, readable for whoever can read the file.
    File,
    /// With the credential helper of this name.
    Helper(String),
}

/// A file of logins: Docker's `config.json`, or the containers tools' `auth.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginFile {
    path: PathBuf,
}

const HUB: &str = "docker.io";
/// How Docker's file names its own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";

impl LoginFile {
    /// Returns the file at `path`, whether it is there or not.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps `login`, in the place of an earlier one for the same registry.
    pub fn keep(&self, login: &Login) -> Result<KeptIn> {
        let registry = &login.registry;
        let mut file = self.read(registry)?;
        let key = self.key(registry);
        let helper = helper(&file, &key, registry);
        if let Some(helper) = &helper {
            let secret = json!({
                "ServerURL": key,
                "Username": login.user,
                "Secret": login.password,
            });
            run_helper(helper, "store", &secret.to_string(), registry)?;
        }
        let entry = match helper {
            // As Docker does it: the helper is asked for what is listed.
            Some(_) => json!({}),
            None => {
                let pair = format!("{}:{}", login.user, login.password);
                json!({ "auth": STANDARD.encode(pair) })
            }
        };
        let auths = file.entry("auths").or_insert_with(|| json!({}));
        let Value::Object(auths) = auths else {
            return Err(self.malformed(registry, "its `auths` is no object"));
        };
        auths.insert(key, entry);
        self.write(&file, registry)?;
        Ok(helper.map_or(KeptIn::File, KeptIn::Helper))
    }

    /// Forgets the login for `registry`; returns whether there was one.
    pub fn forget(&self, registry: &str) -> Result<bool> {
        let mut file = self.read(registry)?;
        let mut found = false;
        for key in names(registry) {
            let auths = file.get_mut("auths").and_then(Value::as_object_mut);
            found |= auths.is_some_and(|auths| auths.shift_remove(&key).is_some());
        }
        if let Some(helper) = helper(&file, &self.key(registry), registry) {
            // Helpers say in various words that they have nothing.
            let erased = run_helper(&helper, "erase", &self.key(registry), registry);
            found |= erased.is_ok();
        }
        if found && self.path.exists() {
            self.write(&file, registry)?;
        }
        Ok(found)
    }

    /// Returns the name of `registry` in this kind of file.
    fn key(&self, registry: &str) -> String {
        let is_docker = self
            .path
            .file_name()
            .is_some_and(|name| name == "config.json");
        match is_docker && registry == HUB {
            true => HUB_KEY.to_owned(),
            false => registry.to_owned(),
        }
    }

    fn read(&self, registry: &str) -> Result<Map<String, Value>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.failure(registry, "read", &error)),
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(self.malformed(registry, "it is no JSON object")),
            // What stands there may be secret: only the place is told.
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                Err(self.malformed(registry, &format!("line {line}, column {column}")))
            }
        }
    }

    fn write(&self, file: &Map<String, Value>, registry: &str) -> Result<()> {
        // A link to the file stays one.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        write_privately(&target, &to_bytes(file))
            .map_err(|error| self.failure(registry, "write", &error))
    }

    fn failure(&self, registry: &str, action: &str, error: &io::Error) -> Error {
        Error::Logins {
            host: registry.to_owned(),
            reason: format!("cannot {action} {}: {error}", self.path.display()),
        }
    }

    fn malformed(&self, registry: &str, reason: &str) -> Error {
        Error::Logins {
            host: registry.to_owned(),
            reason: format!("{} is malformed: {reason}", self.path.display()),
        }
    }
}

/// Returns all names under which files have a registry.
fn names(registry: &str) -> Vec<String> {
    let mut names = vec![
        registry.to_owned(),
        format!("https://{registry}"),
        format!("http://{registry}"),
    ];
    if registry == HUB {
        names.extend([HUB_KEY.to_owned(), "index.docker.io".to_owned()]);
    }
    names
}

/// Returns the credential helper that the file names for the registry.
fn helper(file: &Map<String, Value>, key: &str, registry: &str) -> Option<String> {
    let own = file.get("credHelpers").and_then(Value::as_object);
    let own = own.and_then(|helpers| helpers.get(key).or_else(|| helpers.get(registry)));
    let all = file.get("credsStore");
    let name = own.or(all)?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn run_helper(name: &str, action: &str, input: &str, registry: &str) -> Result<()> {
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| Error::Logins {
        host: registry.to_owned(),
        reason,
    };
    let cannot_run = |error: io::Error| failed(format!("cannot run `{program}`: {error}"));
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot_run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read is told of by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = child.wait().map_err(cannot_run)?;
    match status.success() {
        true => Ok(()),
        // Its output may hold secrets.
        false => Err(failed(format!("`{program} {action}` failed"))),
    }
}

/// Returns the text of the file, as Docker indents it.
fn to_bytes(file: &Map<String, Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
    // Values of this kind cannot fail to be written to memory.
    let _ = file.serialize(&mut serializer);
    bytes.push(b'\n');
    bytes
}

/// Writes a file that its owner alone can read, whole or not at all.
fn write_privately(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.as_os_str().is_empty() && !folder.exists() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file: File| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may never have been there.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(registry: &str) -> Login {
        Login {
            registry: registry.to_owned(),
            user: "ann".to_owned(),
            password: "se:cret".to_owned(),
        }
    }

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn logins_are_kept_beside_everything_else_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.json");
        let file = LoginFile::new(path.clone());
        assert_eq!(file.keep(&login("a.example:5000")).unwrap(), KeptIn::File);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let other = r#"{"zeta": 1, "auths": {"b": {"auth": "x"}}, "alpha": {"k": null}}"#;
        fs::write(&path, other).unwrap();
        file.keep(&login("docker.io")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.find("zeta") < text.find("alpha"), "{text}");
        let found = read(&path);
        assert_eq!(found["auths"][HUB_KEY]["auth"], "YW5uOnNlOmNyZXQ=");
        assert_eq!(found["auths"]["b"]["auth"], "x");
        assert!(file.forget("docker.io").unwrap());
        assert!(!file.forget("docker.io").unwrap());
        assert_eq!(read(&path)["auths"], json!({"b": {"auth": "x"}}));
    }

    #[test]
    fn files_of_the_containers_tools_name_the_hub_by_its_host() {
        let folder = tempfile::tempdir().unwrap();
        let file = LoginFile::new(folder.path().join("auth.json"));
        file.keep(&login("docker.io")).unwrap();
        assert!(read(file.path())["auths"]["docker.io"].is_object());
    }

    #[test]
    fn malformed_files_are_left_alone_and_their_content_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["{secret", "[]", r#"{"auths": []}"#] {
            fs::write(&path, text).unwrap();
            let error = LoginFile::new(path.clone()).keep(&login("a")).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("malformed") && !error.contains("secret"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn link_to_a_file_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (
            folder.path().join("real"),
            folder.path().join("config.json"),
        );
        fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        LoginFile::new(link.clone()).keep(&login("a")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(read(&real)["auths"]["a"].is_object());
    }
}
