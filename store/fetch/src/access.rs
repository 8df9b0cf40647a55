//! What the caller may show to whom: credentials by host, the agent of SSH.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::path::PathBuf;

/// The user name that hosts of git take a token for.
const TOKEN_USER: &str = "x-access-token";

/// What proves who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token: the password of basic authentication for git, a bearer token for files.
    Token(String),
    /// The value of the header `Authorization`.
    Header(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credential(…)")
    }
}

impl Credential {
    /// Returns the header `Authorization` for a git repository.
    pub fn for_git(&self) -> String {
        match self {
            Self::Token(token) => basic(TOKEN_USER, token),
            Self::Header(header) => header.clone(),
        }
    }

    /// Returns the header `Authorization` for a file.
    pub fn for_file(&self) -> String {
        match self {
            Self::Token(token) => format!("Bearer {token}"),
            Self::Header(header) => header.clone(),
        }
    }
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// What may be shown to git's hosts.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Credentials by host (with its port unless it is the scheme's own), in lower case.
    pub hosts: Vec<(String, Credential)>,
    /// The socket of an SSH agent.
    pub ssh_agent: Option<PathBuf>,
    /// Where keys of SSH hosts are remembered.
    pub known_hosts: Option<PathBuf>,
    /// Files of PEM certificates that are trusted besides the system's.
    pub certificate_files: Vec<PathBuf>,
}

impl Access {
    /// Returns what is to be shown to exactly this `host`.
    pub fn of_host(&self, host: &str) -> Option<&Credential> {
        let host = host.to_ascii_lowercase();
        let found = self.hosts.iter().find(|(name, _)| *name == host);
        found.map(|(_, credential)| credential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_password_for_git_and_a_bearer_for_files() {
        let token = Credential::Token("secret".into());
        assert_eq!(token.for_git(), "Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0");
        assert_eq!(token.for_file(), "Bearer secret");
        let header = Credential::Header("Custom x".into());
        assert_eq!(header.for_git(), "Custom x");
        assert_eq!(format!("{token:?}"), "Credential(…)");
    }

    #[test]
    fn credentials_are_for_one_host_and_port() {
        let access = Access {
            hosts: vec![("a.example:5000".into(), Credential::Token("x".into()))],
            ..Access::default()
        };
        for (host, known) in [
            ("a.example:5000", true),
            ("A.Example:5000", true),
            ("a.example", false),
            ("a.example.:5000", false),
            ("b.a.example:5000", false),
        ] {
            assert_eq!(access.of_host(host).is_some(), known, "{host}");
        }
    }
}
