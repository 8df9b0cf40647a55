//! What Docker's configuration file and its helpers know about a registry.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};

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

/// Returns what the user's configuration has for `registry`.
///
/// `folder` holds `config.json`; by default `$DOCKER_CONFIG`, else `~/.docker`.
/// Errors: the file is malformed, or a helper fails.
pub(crate) fn look_up(registry: &str, folder: Option<&Path>) -> Result<Credential> {
    let Some(path) = config_path(folder) else {
        return Ok(Credential::Anonymous);
    };
    for key in keys(registry) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(error) => return Err(failure(registry, format!("{}: {error}", path.display()))),
        };
        match get_credential_from_reader(BufReader::new(file), &key) {
            Ok(found) => return Ok(convert(found)),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(failure(registry, in_words(&error, &path))),
        }
    }
    Ok(Credential::Anonymous)
}

fn config_path(folder: Option<&Path>) -> Option<PathBuf> {
    let given = folder.map(Path::to_owned);
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    given
        .or_else(|| variable("DOCKER_CONFIG"))
        .or_else(|| variable("HOME").map(|home| home.join(".docker")))
        .map(|folder| folder.join("config.json"))
}

/// Returns the names under which `docker login` may have stored the registry.
fn keys(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => vec![
            "https://index.docker.io/v1/".to_owned(),
            "index.docker.io".to_owned(),
            "docker.io".to_owned(),
        ],
        _ => vec![registry.to_owned(), format!("https://{registry}")],
    }
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
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        look_up(registry, Some(folder.path()))
    }

    #[test]
    fn hub_credentials_are_found_under_their_old_name() {
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="}}}"#;
        let found = look_up_in(config, "docker.io").unwrap();
        assert_eq!(found.basic().unwrap(), "Basic dXNlcjpwYTpzcw==");
    }

    #[test]
    fn absent_file_and_absent_entry_mean_anonymous() {
        let folder = tempfile::tempdir().unwrap();
        assert!(look_up("a.example", Some(folder.path())).unwrap() == Credential::Anonymous);
        assert!(look_up_in("{}", "a.example").unwrap() == Credential::Anonymous);
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
