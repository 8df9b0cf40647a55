//! How registries are reached: what the user said, and what the machine's other tools are told.

mod certificates;
mod docker;
mod places;
mod rules;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use kiln_oci::Reference;
use reqwest::Url;

use crate::endpoint::{authority, is_loopback};
use crate::{Error, Result};

pub(crate) use certificates::Found;
pub use certificates::HostCertificates;
pub(crate) use places::LazySettings;
pub use places::Places;
pub use rules::{MirrorUse, RegistryMirror, RegistryRule};

/// Which registries are reached in another way than by HTTPS under their own name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Pairs of a registry (`docker.io`) and the URL of a mirror, tried in this order before
    /// the registry itself. A URL without a scheme is taken as a registry's name.
    pub mirrors: Vec<(String, String)>,
    /// Registries, as `host` or `host:port`, whose certificates are not checked and that may do
    /// without TLS. Loopback hosts do without it unless there are certificates for them.
    pub insecure: Vec<String>,
    /// Files of PEM certificates that are trusted besides the system's, by every host.
    pub certificate_files: Vec<PathBuf>,
    /// Certificates for one host each, as `host` or `host:port`.
    pub certificates: BTreeMap<String, HostCertificates>,
    /// What other tools are told about registries; what is said above goes before.
    pub rules: Vec<RegistryRule>,
    /// Folders with a folder of certificates for each host, as other tools have them.
    pub certificate_folders: Vec<PathBuf>,
    /// Networks (`10.0.0.0/8`) whose registries need not prove who they are.
    pub insecure_networks: Vec<String>,
}

/// How much a host must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// Its certificate must be one that is trusted.
    Verified,
    /// TLS with any certificate, or none.
    Lax,
    /// Nothing: it is this machine, and has no TLS.
    Plain,
}

/// A repository of a registry, after names have been mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub registry: String,
    pub repository: String,
}

/// Where else an image may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mirror {
    /// In the same repository at this address.
    Url(String),
    /// Somewhere else.
    Location(Location),
}

impl RegistrySettings {
    /// Returns how much the host of `url` must prove. Errors: its certificates cannot be read,
    /// and they decide.
    pub(crate) fn security_of(&self, url: &Url) -> Result<Security, String> {
        let name = authority(url);
        if is_loopback(url) {
            return Ok(match self.certificates_of(&name)?.is_empty() {
                true => Security::Plain,
                false => Security::Verified,
            });
        }
        let is_named = |list: &[String]| {
            let host = url.host_str().unwrap_or_default();
            list.iter().any(|one| *one == name || one == host)
        };
        let by_rule = || self.rules.iter().any(|rule| rule.is_insecure(&name));
        Ok(
            match is_named(&self.insecure) || by_rule() || self.is_in_insecure_network(url) {
                true => Security::Lax,
                false => Security::Verified,
            },
        )
    }

    fn is_in_insecure_network(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        address.is_ok_and(|address| {
            let mut networks = self.insecure_networks.iter();
            networks.any(|network| docker::contains(network, address))
        })
    }

    /// Returns where `reference` really is. Errors: [`Error::Blocked`].
    pub(crate) fn location_of(&self, reference: &Reference) -> Result<Location> {
        let Some(rule) = self.rule_of(reference) else {
            return Ok(Location {
                registry: reference.registry().to_owned(),
                repository: reference.repository().to_owned(),
            });
        };
        if rule.blocked {
            return Err(Error::Blocked {
                name: reference.name(),
                path: rule.path.clone(),
            });
        }
        rule.location_of(reference)
    }

    /// Returns the mirrors that the rules know, in order; none if the user named mirrors.
    pub(crate) fn mirrors_of(&self, reference: &Reference) -> Vec<Mirror> {
        let registry = reference.registry();
        if self.mirrors.iter().any(|(name, _)| name == registry) {
            return Vec::new();
        }
        let mirrors = self.rule_of(reference).map(|rule| rule.mirrors(reference));
        mirrors.unwrap_or_default()
    }

    /// Returns the rule with the longest prefix that fits.
    fn rule_of(&self, reference: &Reference) -> Option<&RegistryRule> {
        let fitting = self.rules.iter().filter(|rule| rule.fits(reference));
        // The first of equally long ones: files are read by precedence.
        fitting
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .max_by_key(|rule| rule.prefix.len())
    }

    /// Returns the certificates for `host`: those the user named, and those found in folders.
    pub(crate) fn certificates_of(&self, host: &str) -> Result<Found, String> {
        let named = self.certificates.get(host);
        let mut found = named.map(Found::of).unwrap_or_default();
        for folder in &self.certificate_folders {
            found.look_into(&folder.join(host))?;
        }
        Ok(found)
    }
}
