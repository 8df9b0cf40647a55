//! An address taken apart: which kind it is, and where remote, query and fragment end.

use super::RemoteError;

/// How a remote is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `https://`, `http://`.
    Http,
    /// `git://`, `ssh://`.
    Git,
    /// `user@host:path`, which is SSH too.
    Shell,
}

/// An address taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub kind: Kind,
    /// All before query and fragment.
    pub remote: &'a str,
    pub query: Option<&'a str>,
    pub fragment: Option<&'a str>,
}

impl Parts<'_> {
    /// Whether one file is meant and not a repository.
    pub fn is_file(&self) -> bool {
        self.kind == Kind::Http && !self.remote.ends_with(".git")
    }

    pub fn is_url(&self) -> bool {
        self.kind != Kind::Shell
    }

    /// Returns host and path: what follows the scheme and the user.
    fn place(&self) -> (&str, &str) {
        let (rest, separator) = match self.kind {
            Kind::Shell => (self.remote, ':'),
            _ => {
                let rest = self.remote.split_once("://").map_or("", |parts| parts.1);
                (rest, '/')
            }
        };
        let (authority, path) = rest.split_once(separator).unwrap_or((rest, ""));
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |parts| parts.1);
        (host, path)
    }
}

/// Returns the parts of `text`; nothing if it is no address.
pub(super) fn split(text: &str) -> Option<Parts<'_>> {
    let kind = kind(text)?;
    let (address, fragment) = cut(text, '#');
    let (remote, query) = cut(address, '?');
    Some(Parts {
        kind,
        remote,
        query,
        fragment,
    })
}

fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn kind(text: &str) -> Option<Kind> {
    match text.split_once("://") {
        Some((scheme, _)) => match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => Some(Kind::Http),
            "git" | "ssh" => Some(Kind::Git),
            _ => None,
        },
        None => is_shell(text).then_some(Kind::Shell),
    }
}

/// Whether `text` is `user@host:path` of such users and hosts as there are: other paths hold
/// these signs too.
fn is_shell(text: &str) -> bool {
    let word = |text: &str, others: &str| {
        let is_allowed =
            |character: char| character.is_ascii_alphanumeric() || others.contains(character);
        !text.is_empty() && text.chars().all(is_allowed)
    };
    let Some((user, rest)) = text.split_once('@') else {
        return false;
    };
    let Some((host, path)) = rest.split_once(':') else {
        return false;
    };
    word(user, "-_") && word(host, "-.") && !path.is_empty()
}

/// Checks that no part of the remote is taken for an option, or for two lines, by the
/// programs that see it.
pub(super) fn check_remote(parts: &Parts<'_>) -> Result<(), RemoteError> {
    let refuse = |part: &str| {
        Err(RemoteError::Part {
            part: part.to_owned(),
        })
    };
    let (host, path) = parts.place();
    if host.is_empty() || host.starts_with('-') {
        return refuse(if host.is_empty() { parts.remote } else { host });
    }
    if path.is_empty() || path.starts_with('-') {
        return refuse(if path.is_empty() { parts.remote } else { path });
    }
    match parts.remote.starts_with('-') || parts.remote.chars().any(char::is_control) {
        true => refuse(parts.remote),
        false => Ok(()),
    }
}
