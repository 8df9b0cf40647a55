//! Addresses that are spoken to: `https`, `http`, `ssh`, `git`, and `user@host:path`.

use crate::FetchError;
use crate::access::basic;

/// A remote, and the credentials that its address held.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Without user and password, save the user of SSH: fit for arguments and messages.
    pub remote: String,
    /// Host and port, in lower case.
    pub host: String,
    /// `https://host`, `http://host`: what credentials are for; nothing for other protocols.
    pub origin: Option<String>,
    /// The header `Authorization` that the address asks for.
    pub authorization: Option<String>,
}

impl Address {
    /// Returns the parts of `text`.
    ///
    /// Errors: a protocol that could run programs or read files here, a host or path that
    /// could be taken for an option.
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let refuse = |reason| FetchError::Address {
            url: shown(text),
            reason,
        };
        if text.chars().any(char::is_control) || text.starts_with('-') {
            return Err(refuse("it holds signs that no address has"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return shell(text).ok_or_else(|| refuse("it is no address of a remote"));
        };
        let scheme = scheme.to_ascii_lowercase();
        if !["https", "http", "ssh", "git"].contains(&scheme.as_str()) {
            return Err(refuse("its protocol is not used here"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with('-') || path.starts_with('-') {
            return Err(refuse("it could be taken for an option"));
        }
        let is_web = scheme.starts_with("http");
        let (authorization, user) = match (is_web, user) {
            (true, Some(user)) => (Some(header(user)), String::new()),
            // A password of SSH is asked for on a terminal only: it is of no use.
            (false, Some(user)) => {
                let name = user.split(':').next().unwrap_or(user);
                (None, format!("{name}@"))
            }
            (_, None) => (None, String::new()),
        };
        if user.starts_with('-') {
            return Err(refuse("it could be taken for an option"));
        }
        Ok(Self {
            remote: format!("{scheme}://{user}{host}/{path}"),
            host: host.to_ascii_lowercase(),
            origin: is_web.then(|| format!("{scheme}://{host}")),
            authorization,
        })
    }

    /// Returns the address that `url` means in the `.gitmodules` of this remote.
    pub fn join(&self, url: &str) -> Result<Self, FetchError> {
        if !url.starts_with("./") && !url.starts_with("../") {
            return Self::parse(url);
        }
        let refuse = || FetchError::Address {
            url: shown(url),
            reason: "it leads above its remote",
        };
        let mut base = self.remote.trim_end_matches('/');
        let mut rest = url;
        loop {
            if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else if let Some(after) = rest.strip_prefix("../") {
                rest = after;
                base = parent(base).ok_or_else(refuse)?;
            } else {
                break;
            }
        }
        let separator = if base.ends_with(':') { "" } else { "/" };
        let mut joined = Self::parse(&format!("{base}{separator}{rest}"))?;
        if joined.host == self.host {
            joined.authorization.clone_from(&self.authorization);
        }
        Ok(joined)
    }
}

/// Returns `base` without its last component; nothing if that is the host.
fn parent(base: &str) -> Option<&str> {
    let start = base.find("://").map_or(0, |at| at + 3);
    let path = base[start..].find(['/', ':']).map(|at| start + at)?;
    match base.rfind('/') {
        Some(slash) if slash > path => Some(&base[..slash]),
        // `host:a/b` has `host:a`, whose parent is `host:`.
        _ if start == 0 && base[path + 1..].contains('/') => base.rfind('/').map(|at| &base[..at]),
        _ if base.len() > path + 1 => Some(&base[..path + usize::from(start == 0)]),
        _ => None,
    }
}

/// `user@host:path`.
fn shell(text: &str) -> Option<Address> {
    let (authority, path) = text.split_once(':')?;
    let (user, host) = authority.split_once('@')?;
    let is_word = |text: &str, others: &str| {
        let is_allowed =
            |character: char| character.is_ascii_alphanumeric() || others.contains(character);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(is_allowed)
    };
    let is_valid = is_word(user, "-_.") && is_word(host, "-.") && !path.starts_with('-');
    (is_valid && !path.is_empty()).then(|| Address {
        remote: text.to_owned(),
        host: host.to_ascii_lowercase(),
        origin: None,
        authorization: None,
    })
}

/// Returns the header for `user:password`, or for a token that stands alone.
fn header(user: &str) -> String {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    basic(&decoded(name), &decoded(password))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).unwrap_or_default();
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if digits.len() == 2 => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns `text` without a user, for messages.
fn shown(text: &str) -> String {
    let text: String = text.chars().filter(|sign| !sign.is_control()).collect();
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split('/').next().unwrap_or(rest);
            match authority.rsplit_once('@') {
                Some((user, _)) => format!("{scheme}://{}", &rest[user.len() + 1..]),
                None => text,
            }
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Option<String> {
        Address::parse(text).ok().map(|address| address.remote)
    }

    #[test]
    fn only_protocols_that_fetch_are_spoken() {
        for text in [
            "ext::sh -c id",
            "file:///etc",
            "/srv/a.git",
            "../a",
            "ftp://example.com/a",
            "fd::17",
            "-uploadpack=x",
            "ssh://-oProxyCommand=x/a",
            "ssh://-x@host/a",
            "git@-oProxyCommand=x:a",
            "git@host:-a",
            "https:///a",
            "git://host/a\nb",
        ] {
            assert_eq!(remote(text), None, "{text}");
        }
        for text in [
            "https://example.com/a.git",
            "http://example.com:80/a",
            "ssh://git@example.com:22/a",
            "git://example.com/a",
            "git@example.com:a/b.git",
        ] {
            assert_eq!(remote(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn passwords_become_headers_and_leave_the_address() {
        let address = Address::parse("https://user:p%40ss@Example.com/a.git").expect("an address");
        assert_eq!(address.remote, "https://Example.com/a.git");
        assert_eq!(address.host, "example.com");
        assert_eq!(address.origin.as_deref(), Some("https://Example.com"));
        assert_eq!(address.authorization.as_deref(), Some("Basic dXNlcjpwQHNz"));
        let ssh = Address::parse("ssh://git:secret@example.com/a").expect("an address");
        assert_eq!(ssh.remote, "ssh://git@example.com/a");
        assert_eq!(ssh.authorization, None);
    }

    #[test]
    fn addresses_of_submodules_are_relative_to_the_remote() {
        for (base, url, expected) in [
            (
                "https://a.example/x/y.git",
                "../z.git",
                Some("https://a.example/x/z.git"),
            ),
            (
                "https://a.example/x/y.git",
                "./z",
                Some("https://a.example/x/y.git/z"),
            ),
            (
                "https://a.example/x/y.git",
                "../../z",
                Some("https://a.example/z"),
            ),
            ("https://a.example/x/y.git", "../../../z", None),
            (
                "git@a.example:x/y.git",
                "../z.git",
                Some("git@a.example:x/z.git"),
            ),
            (
                "git@a.example:x/y.git",
                "../../z.git",
                Some("git@a.example:z.git"),
            ),
            (
                "https://a.example/x/y.git",
                "https://b.example/z",
                Some("https://b.example/z"),
            ),
            ("https://a.example/x/y.git", "/etc", None),
            ("https://a.example/x/y.git", "ext::id", None),
        ] {
            let joined = Address::parse(base).expect("an address").join(url);
            let remote = joined.ok().map(|address| address.remote);
            assert_eq!(remote.as_deref(), expected, "{base} {url}");
        }
    }
}
