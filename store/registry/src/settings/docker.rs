//! What Docker's daemon is told about registries: `daemon.json`.

use std::net::IpAddr;

use serde::Deserialize;

use super::rules::{MirrorUse, RegistryMirror, RegistryRule};

/// The part of the file that is about registries.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct DaemonFile {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
}

impl DaemonFile {
    /// Returns its rules, as if they stood in `path`, and the networks that it trusts.
    pub fn rules(self, path: &std::path::Path) -> (Vec<RegistryRule>, Vec<String>) {
        let (networks, names): (Vec<_>, Vec<_>) = self
            .insecure_registries
            .into_iter()
            .partition(|name| name.contains('/'));
        let named = names.into_iter().map(|prefix| RegistryRule {
            prefix,
            insecure: true,
            path: path.to_owned(),
            ..RegistryRule::default()
        });
        let mut rules: Vec<_> = named.collect();
        if !self.registry_mirrors.is_empty() {
            let mirrors = self.registry_mirrors.into_iter().map(|url| RegistryMirror {
                location: url,
                insecure: false,
                usage: MirrorUse::All,
            });
            rules.push(RegistryRule {
                prefix: "docker.io".to_owned(),
                mirrors: mirrors.collect(),
                path: path.to_owned(),
                ..RegistryRule::default()
            });
        }
        (rules, networks)
    }
}

/// Whether `address` lies in `network`, which is written as `10.0.0.0/8`.
pub(super) fn contains(network: &str, address: IpAddr) -> bool {
    let Some((base, length)) = network.split_once('/') else {
        return false;
    };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((base, width), (address, other)) = (bits(base), bits(address));
    width == other && length <= width && {
        let shift = width - length;
        shift == 128 || base >> shift == address >> shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_file_names_mirrors_of_the_hub_and_insecure_registries() {
        let text = r#"{"registry-mirrors": ["https://m.example/"], "debug": true,
            "insecure-registries": ["lan:5000", "10.0.0.0/8"]}"#;
        let file: DaemonFile = serde_json::from_str(text).unwrap();
        let (rules, networks) = file.rules("/d".as_ref());
        let prefixes: Vec<_> = rules.iter().map(|rule| rule.prefix.as_str()).collect();
        assert_eq!(prefixes, ["lan:5000", "docker.io"]);
        assert_eq!(networks, ["10.0.0.0/8"]);
    }

    #[test]
    fn networks_hold_what_begins_like_them() {
        let cases = [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "fe80::1", true),
            ("10.0.0.0/8", "::1", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("nonsense", "10.0.0.0", false),
        ];
        for (network, address, expected) in cases {
            let found = contains(network, address.parse().unwrap());
            assert_eq!(found, expected, "{network} {address}");
        }
    }
}
