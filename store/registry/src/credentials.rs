//! What Docker's and the containers tools' files, and their helpers, know about a registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Error, Result};

/// What proves who the user is to one registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// A name and a password.
    Password { user: String, password: String },
    /// A token that is exchanged for others.
    Identity(String),
}

impl Credential {
    /// Returns the `Authorization` header of the basic scheme.
    pub fn basic(&self) -> Option<String> {
        let Self::Password { user, password } = self else {
            return None;
        };
        Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        ))
    }
}

/// Returns what the first of `files` that knows `repository` of `registry` has for it.
///
/// The files are Docker's `config.json` and the containers tools' `auth.json`, which may have
/// credentials for a part of a registry. Errors: a file is malformed, or a helper fails.
pub(crate) fn look_up(registry: &str, repository: &str, files: &[PathBuf]) -> Result<Credential> {
    let registry = registry.to_ascii_lowercase();
    for path in files {
        let found = look_into(path, &registry, repository);
        match found.map_err(|reason| failure(&registry, reason))? {
            Credential::Anonymous => {}
            credential => return Ok(credential),
        }
    }
    Ok(Credential::Anonymous)
}

fn look_into(path: &Path, registry: &str, repository: &str) -> Result<Credential, String> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
            return Ok(Credential::Anonymous);
        }
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    for key in keys(registry, repository, &bytes) {
        match get_credential_from_reader(&bytes[..], &key) {
            Ok(found) => return Ok(convert(found)),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(in_words(&error, path)),
        }
    }
    Ok(Credential::Anonymous)
}

/// Returns the names under which the credentials may be stored, the narrowest first.
fn keys(registry: &str, repository: &str, file: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Names {
        #[serde(default)]
        auths: BTreeMap<String, IgnoredAny>,
    }
    let named = serde_json::from_slice::<Names>(file).unwrap_or_default();
    let full = format!("{registry}/{repository}");
    let narrower = full.match_indices('/').map(|(end, _)| &full[..end]).skip(1);
    let narrower: Vec<_> = narrower.chain([full.as_str()]).collect();
    let narrower = narrower.into_iter().rev().map(str::to_owned);
    // A helper knows whole registries only: it need not be asked for the rest.
    let mut keys: Vec<_> = narrower
        .filter(|key| named.auths.contains_key(key))
        .collect();
    let rest = match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => vec![
            "https://index.docker.io/v1/".to_owned(),
            "index.docker.io".to_owned(),
            "docker.io".to_owned(),
        ],
        _ => vec![registry.to_owned(), format!("https://{registry}")],
    };
    keys.extend(rest);
    keys
}

fn is_absence(error: &CredentialRetrievalError) -> bool {
    match error {
        CredentialRetrievalError::NoCredentialConfigured => true,
        // What every helper says by convention when it knows nothing.
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => {
            let absent = |text: &str| text.contains("credentials not found");
            absent(stdout) || absent(stderr)
        }
        _ => false,
    }
}

fn convert(found: DockerCredential) -> Credential {
    match found {
        DockerCredential::IdentityToken(token) => Credential::Identity(token),
        DockerCredential::UsernamePassword(user, password) => {
            Credential::Password { user, password }
        }
    }
}

fn failure(registry: &str, reason: String) -> Error {
    Error::Credentials {
        host: registry.to_owned(),
        reason,
    }
}

fn in_words(error: &CredentialRetrievalError, path: &Path) -> String {
    match error {
        // Its output may hold secrets: only its name is told.
        CredentialRetrievalError::HelperFailure { helper, .. } => format!("`{helper}` failed"),
        CredentialRetrievalError::HelperCommunicationError => {
            format!(
                "a credential helper named in {} cannot be run",
                path.display()
            )
        }
        CredentialRetrievalError::MalformedHelperResponse => {
            format!(
                "a credential helper named in {} answered nonsense",
                path.display()
            )
        }
        _ => format!("{} is malformed", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up_in(config: &str, registry: &str) -> Result<Credential> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, config).unwrap();
        look_up(registry, "team/app", &[file])
    }

    #[test]
    fn hub_credentials_are_found_under_their_old_name() {
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="}}}"#;
        let found = look_up_in(config, "docker.io").unwrap();
        assert_eq!(found.basic().unwrap(), "Basic dXNlcjpwYTpzcw==");
    }

    #[test]
    fn absent_file_and_absent_entry_mean_anonymous() {
        let absent = PathBuf::from("/nowhere/config.json");
        assert!(look_up("a.example", "a", &[absent]).unwrap() == Credential::Anonymous);
        assert!(look_up_in("{}", "a.example").unwrap() == Credential::Anonymous);
    }

    #[test]
    fn credentials_belong_to_one_host_and_port_and_to_the_narrowest_part() {
        let auth = |user: &str| format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(format!("{user}:x")));
        let config = format!(
            r#"{{"auths":{{"reg.example:5000":{},"b.example/team":{},"b.example":{}}}}}"#,
            auth("one"),
            auth("team"),
            auth("all")
        );
        let user = |registry: &str| match look_up_in(&config, registry).unwrap() {
            Credential::Password { user, .. } => Some(user),
            _ => None,
        };
        let cases = [
            ("reg.example:5000", Some("one")),
            ("REG.EXAMPLE:5000", Some("one")),
            ("reg.example.:5000", None),
            ("reg.example", None),
            ("reg.example:5001", None),
            ("x.reg.example:5000", None),
            ("b.example", Some("team")),
        ];
        for (registry, expected) in cases {
            assert_eq!(user(registry).as_deref(), expected, "{registry}");
        }
        let keys = keys("b.example", "other/app", config.as_bytes());
        assert_eq!(keys, ["b.example", "https://b.example"]);
    }

    #[test]
    fn first_file_that_knows_the_registry_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = [
            file("1", r#"{"auths":{"a.example":{"identitytoken":"1"}}}"#),
            file("2", r#"{"auths":{"b.example":{"identitytoken":"2"}}}"#),
        ];
        let found = look_up("b.example", "a", &files).unwrap();
        assert!(found == Credential::Identity("2".into()));
    }

    #[test]
    fn identity_tokens_are_told_from_passwords() {
        let config = r#"{"auths":{"a.example":{"identitytoken":"t"}}}"#;
        assert!(look_up_in(config, "a.example").unwrap() == Credential::Identity("t".into()));
    }

    #[test]
    fn malformed_file_is_an_error_without_its_content() {
        let text = look_up_in("{secret", "a.example").unwrap_err_text();
        assert!(
            text.contains("malformed") && !text.contains("secret"),
            "{text}"
        );
    }

    trait Text {
        fn unwrap_err_text(self) -> String;
    }

    impl Text for Result<Credential> {
        fn unwrap_err_text(self) -> String {
            match self {
                Ok(_) => panic!("expected an error"),
                Err(error) => error.to_string(),
            }
        }
    }
}
