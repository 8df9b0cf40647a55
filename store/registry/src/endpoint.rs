//! Where a registry is: its address, and what loopback and plain HTTP mean for it.

use std::net::IpAddr;

use reqwest::Url;

use crate::{Error, RegistrySettings, Result};

/// Registries that are spoken to under another host than the one in image names.
const ALIASES: [(&str, &str); 2] = [
    ("docker.io", "registry-1.docker.io"),
    ("index.docker.io", "registry-1.docker.io"),
];

/// A registry, or a mirror of one, as requests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The name under which credentials are stored.
    pub registry: String,
    /// Scheme, host, port and a path ending in `/` to which `v2/…` is added.
    pub base: Url,
}

impl Endpoint {
    /// Returns where `registry` itself is.
    pub fn of_registry(registry: &str, settings: &RegistrySettings) -> Result<Self> {
        let host = ALIASES
            .iter()
            .find(|(name, _)| *name == registry)
            .map_or(registry, |alias| alias.1);
        let base = parse(&format!("https://{host}/"), registry)?;
        let plain = is_loopback(&base) || settings.insecure.iter().any(|name| name == registry);
        let base = match plain {
            true => parse(&format!("http://{host}/"), registry)?,
            false => base,
        };
        Ok(Self {
            registry: registry.to_owned(),
            base,
        })
    }

    /// Returns where the mirror is that the user gave as `text`.
    fn of_mirror(text: &str, settings: &RegistrySettings) -> Result<Self> {
        if !text.contains("://") {
            return Self::of_registry(text.trim_end_matches('/'), settings);
        }
        let base = parse(&format!("{}/", text.trim_end_matches('/')), text)?;
        Ok(Self {
            registry: authority(&base),
            base,
        })
    }

    /// Returns where to read from `registry`: its mirrors first, itself last.
    pub fn to_read(registry: &str, settings: &RegistrySettings) -> Result<Vec<Self>> {
        let mirrors = settings.mirrors.iter().filter(|(name, _)| name == registry);
        let mut endpoints = mirrors
            .map(|(_, text)| Self::of_mirror(text, settings))
            .collect::<Result<Vec<_>>>()?;
        endpoints.push(Self::of_registry(registry, settings)?);
        Ok(endpoints)
    }

    /// Returns the URL of `rest` (`blobs/…`, `manifests/…`) in `repository`.
    pub fn url(&self, repository: &str, rest: &str) -> Url {
        let mut url = self.base.clone();
        // Setting the path escapes what needs it; names and digests have a safe grammar anyway.
        url.set_path(&format!("{}v2/{repository}/{rest}", self.base.path()));
        url
    }

    /// Whether credentials for this endpoint may be sent to `url`.
    pub fn is_origin_of(&self, url: &Url) -> bool {
        same_origin(&self.base, url)
    }
}

fn parse(text: &str, given: &str) -> Result<Url> {
    let refuse = |reason: &str| Error::Address {
        text: given.to_owned(),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(refuse("it must begin with https:// or http://")),
    }
}

/// Whether scheme, host and port agree.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Returns the host, with its port unless it is the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether the host of `url` is this machine, by its name alone.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(registry: &str) -> String {
        let settings = RegistrySettings {
            insecure: vec!["lan:5000".into()],
            ..Default::default()
        };
        Endpoint::of_registry(registry, &settings)
            .unwrap()
            .base
            .to_string()
    }

    #[test]
    fn only_loopback_and_insecure_registries_are_plain() {
        assert_eq!(base("docker.io"), "https://registry-1.docker.io/");
        assert_eq!(
            base("registry.example:5000"),
            "https://registry.example:5000/"
        );
        assert_eq!(base("localhost:5000"), "http://localhost:5000/");
        assert_eq!(base("127.0.0.2:80"), "http://127.0.0.2/");
        assert_eq!(base("[::1]:5000"), "http://[::1]:5000/");
        assert_eq!(base("lan:5000"), "http://lan:5000/");
        assert_eq!(base("localhost.example"), "https://localhost.example/");
    }

    #[test]
    fn mirrors_come_first_and_keep_their_path() {
        let mirrors = vec![
            (
                "docker.io".to_owned(),
                "https://mirror.example/hub".to_owned(),
            ),
            ("other.example".to_owned(), "https://no.example".to_owned()),
        ];
        let settings = RegistrySettings {
            mirrors,
            ..Default::default()
        };
        let endpoints = Endpoint::to_read("docker.io", &settings).unwrap();
        let urls: Vec<_> = endpoints
            .iter()
            .map(|endpoint| endpoint.url("library/a", "tags/list").to_string())
            .collect();
        let expected = [
            "https://mirror.example/hub/v2/library/a/tags/list",
            "https://registry-1.docker.io/v2/library/a/tags/list",
        ];
        assert_eq!(urls, expected);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let settings = RegistrySettings::default();
        let endpoint = Endpoint::of_registry("a.example", &settings).unwrap();
        let cases = [
            ("https://a.example:443/x", true),
            ("https://a.example:444/x", false),
            ("http://a.example/x", false),
            ("https://b.a.example/x", false),
        ];
        for (url, same) in cases {
            assert_eq!(
                endpoint.is_origin_of(&Url::parse(url).unwrap()),
                same,
                "{url}"
            );
        }
    }
}
