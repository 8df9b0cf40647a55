//! Rules for names that begin alike: where they are really, where else, and whether at all.
//! Specification: containers-registries.conf(5).

use std::path::{Path, PathBuf};

use kiln_oci::Reference;
use serde::Deserialize;

use super::{Location, Mirror};
use crate::{Error, Result};

/// What is said of all images whose names begin with a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryRule {
    /// A host, perhaps with a port and the beginning of a path, or `*.` and a domain.
    pub prefix: String,
    /// What stands in the prefix' place where the images really are.
    pub location: Option<String>,
    /// Whether any certificate will do, and none.
    pub insecure: bool,
    /// Whether nothing may be pulled or pushed.
    pub blocked: bool,
    /// Where else the images may be; asked first.
    pub mirrors: Vec<RegistryMirror>,
    /// The file that says so.
    pub path: PathBuf,
}

/// A mirror of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryMirror {
    /// What stands in the prefix' place; or a URL, for the same repositories at that address.
    pub location: String,
    /// Whether any certificate will do, and none.
    pub insecure: bool,
    /// What it is asked for.
    pub usage: MirrorUse,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorUse {
    /// Everything.
    #[default]
    All,
    /// Images named by their digest.
    DigestOnly,
    /// Images named by a tag.
    TagOnly,
}

impl RegistryRule {
    /// Returns where in the name of `reference` the prefix ends, if it fits.
    fn prefix_end(&self, name: &str) -> Option<usize> {
        let end = match self.prefix.strip_prefix('*') {
            Some(domain) => {
                let host = name.split('/').next().unwrap_or_default();
                let host = host.split(':').next().unwrap_or_default();
                host.strip_suffix(domain)?;
                host.len()
            }
            None => {
                name.strip_prefix(self.prefix.as_str())?;
                self.prefix.len()
            }
        };
        match name[end..].chars().next() {
            None | Some('/' | ':') => Some(end),
            Some(_) => None,
        }
    }

    pub(super) fn fits(&self, reference: &Reference) -> bool {
        self.prefix_end(&reference.name()).is_some()
    }

    /// Returns where `reference`, which fits, really is.
    pub(super) fn location_of(&self, reference: &Reference) -> Result<Location> {
        let name = reference.name();
        let name = match &self.location {
            Some(location) => self.replaced(&name, location),
            None => name,
        };
        locate(&name, &self.path)
    }

    fn replaced(&self, name: &str, location: &str) -> String {
        let end = self.prefix_end(name).unwrap_or(name.len());
        format!("{location}{}", &name[end..])
    }

    /// Returns the mirrors that may have `reference`, which fits.
    pub(super) fn mirrors(&self, reference: &Reference) -> Vec<Mirror> {
        let is_pinned = reference.digest().is_some();
        let serves = |mirror: &&RegistryMirror| match mirror.usage {
            MirrorUse::All => true,
            MirrorUse::DigestOnly => is_pinned,
            MirrorUse::TagOnly => !is_pinned,
        };
        let mirrors = self.mirrors.iter().filter(serves);
        let place = |mirror: &RegistryMirror| match mirror.location.contains("://") {
            true => Some(Mirror::Url(mirror.location.clone())),
            false => {
                let name = self.replaced(&reference.name(), &mirror.location);
                locate(&name, &self.path).ok().map(Mirror::Location)
            }
        };
        mirrors.filter_map(place).collect()
    }

    /// Whether the host `name` need not prove who it is.
    pub(super) fn is_insecure(&self, name: &str) -> bool {
        let place = self.location.as_deref().unwrap_or(&self.prefix);
        let is_host = |place: &str| match place.strip_prefix('*') {
            Some(domain) => name.split(':').next().unwrap_or(name).ends_with(domain),
            None => host_of(place) == name,
        };
        let mut mirrors = self.mirrors.iter();
        (self.insecure && is_host(place))
            || mirrors.any(|mirror| mirror.insecure && host_of(&mirror.location) == name)
    }
}

fn host_of(location: &str) -> &str {
    let location = location.split_once("://").map_or(location, |parts| parts.1);
    location.split('/').next().unwrap_or_default()
}

fn locate(name: &str, path: &Path) -> Result<Location> {
    match name.split_once('/') {
        Some((registry, repository)) if !registry.is_empty() && !repository.is_empty() => {
            Ok(Location {
                registry: registry.to_owned(),
                repository: repository.to_owned(),
            })
        }
        _ => Err(Error::Settings {
            path: path.to_owned(),
            reason: format!("`{name}` is no place of an image"),
        }),
    }
}

/// A file of rules, in either of its two forms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RulesFile {
    registry: Vec<Entry>,
    registries: OldForm,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Entry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<MirrorEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorEntry {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: MirrorUse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldForm {
    insecure: OldList,
    block: OldList,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldList {
    registries: Vec<String>,
}

impl RulesFile {
    /// Returns the rules, as they stand in `path`. Errors, in words: one names nothing.
    pub fn rules(self, path: &Path) -> Result<Vec<RegistryRule>, String> {
        let entries = self.registry.into_iter().map(|entry| entry.rule(path));
        let mut rules = entries.collect::<Result<Vec<_>, _>>()?;
        let old = |prefix: String, insecure, blocked| RegistryRule {
            prefix,
            insecure,
            blocked,
            path: path.to_owned(),
            ..RegistryRule::default()
        };
        let insecure = self.registries.insecure.registries.into_iter();
        rules.extend(insecure.map(|prefix| old(prefix, true, false)));
        let blocked = self.registries.block.registries.into_iter();
        rules.extend(blocked.map(|prefix| old(prefix, false, true)));
        Ok(rules)
    }
}

impl Entry {
    fn rule(self, path: &Path) -> Result<RegistryRule, String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (prefix, location) = (given(self.prefix), given(self.location));
        let Some(prefix) = prefix.or_else(|| location.clone()) else {
            return Err("a [[registry]] has neither prefix nor location".to_owned());
        };
        let by_digest = self.mirror_by_digest_only;
        let mirrors = self.mirror.into_iter().map(|mirror| RegistryMirror {
            location: mirror.location,
            insecure: mirror.insecure,
            usage: match by_digest {
                true => MirrorUse::DigestOnly,
                false => mirror.pull_from_mirror,
            },
        });
        Ok(RegistryRule {
            location: location.filter(|location| *location != prefix),
            insecure: self.insecure,
            blocked: self.blocked,
            mirrors: mirrors.collect(),
            path: path.to_owned(),
            prefix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<RegistryRule> {
        let file: RulesFile = toml::from_str(text).unwrap();
        file.rules("/r.conf".as_ref()).unwrap()
    }

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_end_where_a_part_of_the_name_ends() {
        let rule = |prefix: &str| RegistryRule {
            prefix: prefix.to_owned(),
            ..RegistryRule::default()
        };
        let cases = [
            ("a.example", "a.example/x/y", true),
            ("a.example/x", "a.example/x/y", true),
            ("a.example/x", "a.example/xy", false),
            ("a.example", "a.example:5000/x", true),
            ("a.example:5000", "a.example/x", false),
            ("*.example", "a.example/x", true),
            ("*.example", "a.example:5000/x", true),
            ("*.example", "b.a.example/x", true),
            ("*.example", "example.org/x", false),
        ];
        for (prefix, name, expected) in cases {
            let found = rule(prefix).fits(&reference(name));
            assert_eq!(found, expected, "{prefix} {name}");
        }
    }

    #[test]
    fn locations_and_mirrors_take_the_place_of_the_prefix() {
        let rules = rules(
            r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            prefix = "a.example/team"
            location = "b.example:5000/all/team"
            [[registry.mirror]]
            location = "m.example/team"
            insecure = true
            [[registry.mirror]]
            location = "n.example"
            pull-from-mirror = "digest-only"
            "#,
        );
        let one = reference("a.example/team/app:1");
        let place = |registry: &str, repository: &str| Location {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
        };
        let located = rules[0].location_of(&one).unwrap();
        assert_eq!(located, place("b.example:5000", "all/team/app"));
        let first = Mirror::Location(place("m.example", "team/app"));
        assert_eq!(rules[0].mirrors(&one), std::slice::from_ref(&first));
        let pinned = one.with_digest(kiln_oci::Digest::sha256("x"));
        let second = Mirror::Location(place("n.example", "app"));
        assert_eq!(rules[0].mirrors(&pinned), [first, second]);
        assert!(rules[0].is_insecure("m.example"));
        assert!(!rules[0].is_insecure("b.example:5000"));
    }

    #[test]
    fn old_form_names_insecure_and_blocked_registries() {
        let rules = rules(
            "[registries.insecure]\nregistries = ['a']\n[registries.block]\nregistries = ['b']\n",
        );
        let said: Vec<_> = rules
            .iter()
            .map(|rule| (rule.prefix.as_str(), rule.insecure, rule.blocked))
            .collect();
        assert_eq!(said, [("a", true, false), ("b", false, true)]);
    }
}
