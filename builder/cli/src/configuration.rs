//! The configuration file: registries, garbage collection, and what builds do unless told
//! otherwise.
//!
//! ```toml
//! [build]
//! context-modes = "normalize"
//! reproducible = true
//! network = "host"
//!
//! [registry."docker.io"]
//! mirrors = ["http://127.0.0.1:5000"]
//!
//! [registry."registry.example:5000"]
//! insecure = true
//! certificates = ["/etc/kiln/example.pem"]
//! client-certificate = "/etc/kiln/me.pem"
//! client-key = "/etc/kiln/me.key"
//!
//! [registries]
//! other-tools = false
//!
//! [gc]
//! max-used-space = "50GB"
//!
//! [limits]
//! layer-size = "100GB"
//! ```

use crate::arguments::GlobalArguments;
use crate::error::{Class, Failure};
use crate::quantity::{Bytes, Space};
use kiln_engine::disk::LayerLimits;
use kiln_engine::registry::{HostCertificates, Places, RegistrySettings};
use kiln_engine::{ContextModes, UnpackLimits, UsualNetwork};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    #[serde(default)]
    build: Build,
    #[serde(default)]
    registry: BTreeMap<String, Registry>,
    #[serde(default)]
    registries: Registries,
    #[serde(default)]
    pub gc: GarbageCollection,
    #[serde(default)]
    limits: Limits,
}

/// The most that layers of images may bring.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Limits {
    layer_entries: Option<u64>,
    layer_size: Option<Bytes>,
    image_entries: Option<u64>,
    image_size: Option<Bytes>,
    path_length: Option<usize>,
    path_depth: Option<usize>,
    compression_ratio: Option<u64>,
}

impl From<&Limits> for LayerLimits {
    fn from(limits: &Limits) -> Self {
        let usual = Self::default();
        let bytes = |given: Option<Bytes>, usual| given.map_or(usual, |Bytes(bytes)| bytes);
        let layer = UnpackLimits {
            entries: limits.layer_entries.unwrap_or(usual.layer.entries),
            content_bytes: bytes(limits.layer_size, usual.layer.content_bytes),
            path_bytes: limits.path_length.unwrap_or(usual.layer.path_bytes),
            path_depth: limits.path_depth.unwrap_or(usual.layer.path_depth),
        };
        let ratio = limits.compression_ratio;
        Self {
            layer,
            image_entries: limits.image_entries.unwrap_or(usual.image_entries),
            image_bytes: bytes(limits.image_size, usual.image_bytes),
            compression_ratio: ratio.unwrap_or(usual.compression_ratio),
        }
    }
}

/// Returns the most that layers of images may bring.
pub fn layer_limits(arguments: &GlobalArguments) -> Result<LayerLimits, Failure> {
    Ok((&read(arguments.config.as_deref())?.limits).into())
}

/// When and what is collected without being asked for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GarbageCollection {
    /// On unless said otherwise.
    pub enabled: Option<bool>,
    pub reserved_space: Option<Space>,
    pub max_used_space: Option<Space>,
    pub min_free_space: Option<Space>,
    /// Instead of the usual rules.
    pub rule: Option<Vec<GarbageRule>>,
}

/// What is collected, in the words of `kiln prune`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GarbageRule {
    #[serde(default)]
    pub filters: Vec<String>,
    #[serde(default)]
    pub all: bool,
    /// What was used more recently is kept: `48h`.
    pub keep_duration: Option<String>,
    pub reserved_space: Option<Space>,
    pub max_used_space: Option<Space>,
    pub min_free_space: Option<Space>,
}

/// Returns what the file says of garbage collection.
pub fn garbage_collection(arguments: &GlobalArguments) -> Result<GarbageCollection, Failure> {
    Ok(read(arguments.config.as_deref())?.gc)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Build {
    #[serde(default)]
    context_modes: Modes,
    #[serde(default)]
    reproducible: bool,
    network: Option<Network>,
}

/// The network of steps that ask for none in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Network {
    Private,
    Host,
    None,
}

/// Permissions of files of build contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Modes {
    #[default]
    Keep,
    Normalize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Registry {
    mirrors: Vec<String>,
    insecure: bool,
    certificates: Vec<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

impl Registry {
    /// Returns the certificates; none if nothing is said of them.
    fn certificates(&self, name: &str) -> Result<Option<HostCertificates>, Failure> {
        let client = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => {
                let message = format!("[registry.\"{name}\"] has half of a client certificate");
                return Err(
                    Failure::usage(message).with_hint("set both client-certificate and client-key")
                );
            }
        };
        let found = HostCertificates {
            authorities: self.certificates.clone(),
            client,
        };
        Ok((found != HostCertificates::default()).then_some(found))
    }
}

/// What holds for all registries.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Registries {
    other_tools: OtherTools,
}

/// Whether the settings of Docker and of the containers tools count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "bool")]
struct OtherTools(bool);

impl Default for OtherTools {
    fn default() -> Self {
        Self(true)
    }
}

impl From<bool> for OtherTools {
    fn from(counts: bool) -> Self {
        Self(counts)
    }
}

/// Returns where other tools keep their settings of registries, unless the file says that
/// these do not count.
pub fn other_tools(arguments: &GlobalArguments) -> Result<Option<Places>, Failure> {
    let configuration = read(arguments.config.as_deref())?;
    let OtherTools(counts) = configuration.registries.other_tools;
    Ok(counts.then(Places::usual))
}

/// Returns how registries are reached: what the arguments say, before what the file says.
pub fn registry_settings(arguments: &GlobalArguments) -> Result<RegistrySettings, Failure> {
    let mut settings = RegistrySettings {
        insecure: arguments.insecure_registry.clone(),
        ..RegistrySettings::default()
    };
    for mirror in &arguments.registry_mirror {
        let (registry, url) = mirror.split_once('=').ok_or_else(|| {
            Failure::usage(format!("invalid mirror `{mirror}`"))
                .with_hint("write it as docker.io=http://127.0.0.1:5000")
        })?;
        settings.mirrors.push((registry.to_owned(), url.to_owned()));
    }
    for (name, registry) in read(arguments.config.as_deref())?.registry {
        let host = name.to_ascii_lowercase();
        if let Some(certificates) = registry.certificates(&name)? {
            settings.certificates.insert(host.clone(), certificates);
        }
        let mirrors = registry.mirrors.into_iter().map(|url| (name.clone(), url));
        settings.mirrors.extend(mirrors);
        if registry.insecure {
            settings.insecure.push(host);
        }
    }
    Ok(settings)
}

/// Returns which permissions files of build contexts have: as `asked`, else as the file says.
pub fn context_modes(
    arguments: &GlobalArguments,
    asked: Option<&str>,
) -> Result<ContextModes, Failure> {
    let modes = match asked {
        Some("normalize") => Modes::Normalize,
        Some(_) => Modes::Keep,
        None => read(arguments.config.as_deref())?.build.context_modes,
    };
    Ok(match modes {
        Modes::Keep => ContextModes::Kept,
        Modes::Normalize => ContextModes::Normalized,
    })
}

/// Returns which network steps have that ask for none in particular.
pub fn usual_network(arguments: &GlobalArguments) -> Result<UsualNetwork, Failure> {
    let said = read(arguments.config.as_deref())?.build.network;
    Ok(match said {
        None => UsualNetwork::PrivateIfPossible,
        Some(Network::Private) => UsualNetwork::Private,
        Some(Network::Host) => UsualNetwork::Host,
        Some(Network::None) => UsualNetwork::None,
    })
}

/// Returns whether images depend on their sources alone: as `asked`, else as the file says.
pub fn is_reproducible(arguments: &GlobalArguments, asked: Option<bool>) -> Result<bool, Failure> {
    match asked {
        Some(asked) => Ok(asked),
        None => Ok(read(arguments.config.as_deref())?.build.reproducible),
    }
}

/// Reads the file that was named, which must exist, or the one at the usual place.
fn read(named: Option<&Path>) -> Result<Configuration, Failure> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => match usual_places().into_iter().find(|path| path.exists()) {
            Some(path) => path,
            None => return Ok(Configuration::default()),
        },
    };
    let message = || format!("cannot read the configuration {}", path.display());
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::caused(Class::Usage, message(), &error))?;
    parse(&text).map_err(|error| Failure::caused(Class::Usage, message(), &error))
}

/// Returns what `text` says.
pub fn parse(text: &str) -> Result<Configuration, toml::de::Error> {
    toml::from_str(text)
}

fn usual_places() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or(home);
    let user = user.map(|directory| directory.join("kiln/config.toml"));
    user.into_iter()
        .chain([PathBuf::from("/etc/kiln/config.toml")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_mirrors_certificates_and_plain_registries() {
        let text = "[registry.\"docker.io\"]\nmirrors = [\"http://m\"]\n\
            [registry.\"r:5000\"]\ninsecure = true\ncertificates = [\"/a.pem\"]\n";
        let configuration: Configuration = toml::from_str(text).unwrap();
        assert_eq!(configuration.registry["docker.io"].mirrors, ["http://m"]);
        assert!(configuration.registry["r:5000"].insecure);
        assert_eq!(
            configuration.registry["r:5000"].certificates,
            [PathBuf::from("/a.pem")]
        );
    }

    #[test]
    fn client_certificates_need_their_keys() {
        let text = "[registry.r]\nclient-certificate = \"/c\"\n";
        let configuration: Configuration = toml::from_str(text).unwrap();
        assert!(configuration.registry["r"].certificates("r").is_err());
        let text = format!("{text}client-key = \"/k\"\n");
        let configuration: Configuration = toml::from_str(&text).unwrap();
        let found = configuration.registry["r"].certificates("r").ok().flatten();
        let client = found.and_then(|found| found.client);
        assert_eq!(client, Some(("/c".into(), "/k".into())));
    }

    #[test]
    fn settings_of_other_tools_count_unless_the_file_says_no() {
        let counts = |text: &str| {
            let configuration: Configuration = toml::from_str(text).unwrap();
            configuration.registries.other_tools.0
        };
        assert!(counts(""));
        assert!(!counts("[registries]\nother-tools = false\n"));
    }

    #[test]
    fn file_says_which_permissions_contexts_have() {
        let read = |text: &str| toml::from_str::<Configuration>(text).map(|read| read.build);
        let text = "[build]\ncontext-modes = \"normalize\"\n";
        assert_eq!(read(text).unwrap().context_modes, Modes::Normalize);
        assert_eq!(read("").unwrap().context_modes, Modes::Keep);
        assert!(read("[build]\ncontext-modes = \"x\"\n").is_err());
    }

    #[test]
    fn limits_of_layers_are_the_usual_ones_unless_the_file_says_others() {
        let read = |text: &str| {
            let configuration: Configuration = toml::from_str(text).unwrap();
            LayerLimits::from(&configuration.limits)
        };
        assert_eq!(read(""), LayerLimits::default());
        let text = "[limits]\nlayer-entries = 10\nlayer-size = \"1k\"\nimage-entries = 20\n\
            image-size = \"2k\"\npath-length = 30\npath-depth = 4\ncompression-ratio = 7\n";
        let layer = UnpackLimits {
            entries: 10,
            content_bytes: 1024,
            path_bytes: 30,
            path_depth: 4,
        };
        let expected = LayerLimits {
            layer,
            image_entries: 20,
            image_bytes: 2048,
            compression_ratio: 7,
        };
        assert_eq!(read(text), expected);
    }

    #[test]
    fn file_says_which_network_steps_have() {
        let read = |text: &str| toml::from_str::<Configuration>(text).map(|read| read.build);
        let network = |name: &str| read(&format!("[build]\nnetwork = \"{name}\"\n"));
        assert_eq!(read("").unwrap().network, None);
        assert_eq!(network("private").unwrap().network, Some(Network::Private));
        assert_eq!(network("host").unwrap().network, Some(Network::Host));
        assert_eq!(network("none").unwrap().network, Some(Network::None));
        assert!(network("bridge").is_err());
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<Configuration>("[registry.a]\nmirror = \"x\"\n").is_err());
    }
}
