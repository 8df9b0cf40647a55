//! What the request lets us show to whom.
//!
//! | secret | shown to |
//! |---|---|
//! | `GIT_AUTH_TOKEN.HOST`, `GIT_AUTH_HEADER.HOST` | that host, for git |
//! | `GIT_AUTH_TOKEN`, `GIT_AUTH_HEADER` | the host of the repository that the build names |
//! | `HTTP_AUTH_TOKEN_HOST`, `HTTP_AUTH_HEADER_HOST` | that host, for files |
//!
//! `HOST` has its port where the address has one.

use crate::{BuildRequest, StepError};
use kiln_disk::Store;
use kiln_fetch::{Access, Credential};

/// Returns a secret that is one line of text.
fn line(request: &BuildRequest, id: &str) -> Result<Option<String>, StepError> {
    let Some(bytes) = request.secrets.value(id)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok((!text.is_empty()).then_some(text))
}

/// Returns what git may show, to the host of `remote` and to others.
pub(super) fn of_git(
    request: &BuildRequest,
    store: &Store,
    client: &kiln_registry::Client,
    remote: &str,
) -> Result<Access, StepError> {
    let mut hosts = Vec::new();
    for id in request.secrets.ids() {
        let header = id.strip_prefix("GIT_AUTH_HEADER");
        let token = id.strip_prefix("GIT_AUTH_TOKEN");
        let Some(suffix) = header.or(token) else {
            continue;
        };
        let host = match suffix.strip_prefix('.') {
            Some(host) => host.to_ascii_lowercase(),
            None if suffix.is_empty() => host_of(remote),
            None => continue,
        };
        let Some(value) = line(request, id)? else {
            continue;
        };
        let credential = match header {
            Some(_) => Credential::Header(value),
            None => Credential::Token(value),
        };
        // What names a host counts more than what does not.
        match suffix.is_empty() {
            true => hosts.push((host, credential)),
            false => hosts.insert(0, (host, credential)),
        }
    }
    Ok(Access {
        hosts,
        ssh_agent: request.ssh_agents.get("default").cloned(),
        known_hosts: Some(store.trust_path("ssh-known-hosts")?),
        certificate_files: client.certificate_files(),
    })
}

/// Returns the header `Authorization` for the file at `url`, if it was given.
pub(super) fn of_file(request: &BuildRequest, url: &str) -> Result<Option<String>, StepError> {
    let host = host_of(url);
    for id in request.secrets.ids() {
        let header = id.strip_prefix("HTTP_AUTH_HEADER_");
        let token = id.strip_prefix("HTTP_AUTH_TOKEN_");
        let named = header.or(token).unwrap_or_default();
        if !named.eq_ignore_ascii_case(&host) {
            continue;
        }
        if let Some(value) = line(request, id)? {
            let credential = match header {
                Some(_) => Credential::Header(value),
                None => Credential::Token(value),
            };
            return Ok(Some(credential.for_file()));
        }
    }
    Ok(None)
}

/// Returns host and port of an address, in lower case.
fn host_of(address: &str) -> String {
    let rest = match address.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or(rest),
        None => address.split(':').next().unwrap_or(address),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_what_stands_before_the_path() {
        for (address, expected) in [
            ("https://user:x@A.example:8080/b.git", "a.example:8080"),
            ("git@a.example:b/c", "a.example"),
            ("http://a.example?x=y", "a.example"),
            ("https://a.example/b@c", "a.example"),
        ] {
            assert_eq!(host_of(address), expected, "{address}");
        }
    }
}
