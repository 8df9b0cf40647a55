//! Where a repository is: the address of its registry and of the mirrors, and its name there.

use std::net::IpAddr;

use kiln_oci::Reference;
use reqwest::Url;

use crate::settings::{Mirror, Security};
use crate::{Error, RegistrySettings, Result};

/// Registries that are spoken to under another host than the one in image names.
const ALIASES: [(&str, &str); 2] = [
    ("docker.io", "registry-1.docker.io"),
    ("index.docker.io", "registry-1.docker.io"),
];

/// One repository of a registry, or of a mirror of one, as requests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The name under which credentials are stored.
    pub registry: String,
    /// Scheme, host, port and a path ending in `/` to which `v2/…` is added. A host that may
    /// do without TLS begins as one that does.
    pub base: Url,
    /// The repository's name there.
    pub repository: String,
}

impl Endpoint {
    /// Returns where `repository` of `registry` itself is.
    pub fn of(registry: &str, repository: &str, settings: &RegistrySettings) -> Result<Self> {
        let host = ALIASES
            .iter()
            .find(|(name, _)| *name == registry)
            .map_or(registry, |alias| alias.1);
        let base = parse(&format!("https://{host}/"), registry)?;
        let security = settings.security_of(&base);
        let security = security.map_err(|reason| Error::Certificates {
            registry: registry.to_owned(),
            reason,
        })?;
        let base = match security {
            Security::Plain | Security::Lax => parse(&format!("http://{host}/"), registry)?,
            Security::Verified => base,
        };
        Ok(Self {
            registry: registry.to_owned(),
            base,
            repository: repository.to_owned(),
        })
    }

    /// Returns where `repository` is in the mirror that the user gave as `text`.
    fn of_mirror(text: &str, repository: &str, settings: &RegistrySettings) -> Result<Self> {
        if !text.contains("://") {
            return Self::of(text.trim_end_matches('/'), repository, settings);
        }
        let base = parse(&format!("{}/", text.trim_end_matches('/')), text)?;
        Ok(Self {
            registry: authority(&base),
            base,
            repository: repository.to_owned(),
        })
    }

    /// Returns where to push to `reference`: no mirror takes anything.
    pub fn to_write(reference: &Reference, settings: &RegistrySettings) -> Result<Self> {
        let location = settings.location_of(reference)?;
        Self::of(&location.registry, &location.repository, settings)
    }

    /// Returns where to read `reference`: its mirrors first, itself last.
    pub fn to_read(reference: &Reference, settings: &RegistrySettings) -> Result<Vec<Self>> {
        let location = settings.location_of(reference)?;
        let (registry, repository) = (reference.registry(), reference.repository());
        let own = settings.mirrors.iter().filter(|(name, _)| name == registry);
        let mut endpoints = own
            .map(|(_, text)| Self::of_mirror(text, repository, settings))
            .collect::<Result<Vec<_>>>()?;
        for mirror in settings.mirrors_of(reference) {
            endpoints.push(match &mirror {
                Mirror::Url(text) => Self::of_mirror(text, repository, settings)?,
                Mirror::Location(place) => Self::of(&place.registry, &place.repository, settings)?,
            });
        }
        endpoints.push(Self::of(
            &location.registry,
            &location.repository,
            settings,
        )?);
        Ok(endpoints)
    }

    /// Returns the URL of `rest` (`blobs/…`, `manifests/…`) in the repository.
    pub fn url(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        // Setting the path escapes what needs it; names and digests have a safe grammar anyway.
        let (path, repository) = (self.base.path(), &self.repository);
        url.set_path(&format!("{path}v2/{repository}/{rest}"));
        url
    }

    /// Returns the scope of doing `actions` (`pull`, `pull,push`) in the repository.
    pub fn scope(&self, actions: &str) -> String {
        format!("repository:{}:{actions}", self.repository)
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
        Endpoint::of(registry, "a", &settings)
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
    fn certificates_that_cannot_be_read_are_told_and_not_taken_for_some() {
        let folders = tempfile::tempdir().unwrap();
        // Whoever follows it never arrives, root neither.
        std::os::unix::fs::symlink("localhost:5000", folders.path().join("localhost:5000"))
            .unwrap();
        let settings = RegistrySettings {
            certificate_folders: vec![folders.path().to_owned()],
            ..Default::default()
        };
        let error = Endpoint::of("localhost:5000", "a", &settings).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cannot use the certificates of localhost:5000: cannot read "),
            "{text}"
        );
        Endpoint::of("localhost:5001", "a", &settings).unwrap();
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
        let endpoints = Endpoint::to_read(&"a".parse().unwrap(), &settings).unwrap();
        let urls: Vec<_> = endpoints
            .iter()
            .map(|endpoint| endpoint.url("tags/list").to_string())
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
        let endpoint = Endpoint::of("a.example", "a", &settings).unwrap();
        let cases = [
            ("https://a.example:443/x", true),
            ("https://A.EXAMPLE/x", true),
            ("https://a.example./x", false),
            ("https://a.example:444/x", false),
            ("http://a.example/x", false),
            ("https://b.a.example/x", false),
            ("https://a.example@evil.example/x", false),
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
