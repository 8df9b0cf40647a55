//! Certificates for one host: whom to trust, and who we are.
//!
//! Folders are laid out as Docker and the containers tools have them: in a folder named like
//! the host, `*.crt` are authorities, `*.cert` with a `*.key` of the same name prove who we are.

use std::io;
use std::path::{Path, PathBuf};

/// The certificates that one host needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostCertificates {
    /// Files of PEM certificates of authorities that are trusted besides the system's.
    pub authorities: Vec<PathBuf>,
    /// The file of our own certificate, and that of its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The files of certificates for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub authorities: Vec<PathBuf>,
    /// The first one is used.
    pub clients: Vec<(PathBuf, PathBuf)>,
}

impl Found {
    pub fn of(named: &HostCertificates) -> Self {
        Self {
            authorities: named.authorities.clone(),
            clients: named.client.iter().cloned().collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.clients.is_empty()
    }

    /// Adds what lies in `folder`, if there is one.
    ///
    /// Errors, in words: it cannot be read, or a certificate of ours lacks its key.
    pub fn look_into(&mut self, folder: &Path) -> Result<(), String> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(()),
            Err(error) => return Err(format!("cannot read {}: {error}", folder.display())),
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|name| name.to_str()) {
                Some("crt") => self.authorities.push(path),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.exists() {
                        let (path, key) = (path.display(), key.display());
                        return Err(format!(
                            "the client certificate {path} has no key {key}; \
                             certificates of authorities end in `.crt`"
                        ));
                    }
                    self.clients.push((path, key));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Folders that others may not look into are as good as absent.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    matches!(
        error.kind(),
        NotFound | NotADirectory | PermissionDenied | InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_tells_authorities_from_client_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["ca.crt", "me.cert", "me.key", "readme.txt"] {
            std::fs::write(path(name), "").unwrap();
        }
        let mut found = Found::default();
        found.look_into(folder.path()).unwrap();
        assert_eq!(found.authorities, [path("ca.crt")]);
        assert_eq!(found.clients, [(path("me.cert"), path("me.key"))]);
        std::fs::remove_file(path("me.key")).unwrap();
        let text = Found::default().look_into(folder.path()).unwrap_err();
        assert!(text.contains("me.cert has no key"), "{text}");
        assert!(Found::default().look_into(&path("absent")).is_ok());
    }
}
