//! Image configurations: what an image runs, and what it is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::null::null_as_default;
use crate::strict_json::{parse_value, shape};
use crate::{ContainerConfig, DiffId, Platform, StrictJsonError};

/// An image configuration. Time stamps are RFC 3339 and kept as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Processor architecture, in Go's words.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// Operating system, in Go's words.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Needed features of the operating system.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub os_features: Vec<String>,
    /// What a container runs.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    /// The layers.
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub history: Vec<HistoryEntry>,
    /// Keys this type does not know, kept.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The layers of an image by their uncompressed archives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Diff ids, bottom layer first.
    #[serde(deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        }
    }
}

/// One step in the history of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark, usually the builder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "null_as_default"
    )]
    pub empty_layer: bool,
    /// Keys this type does not know, kept.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// An image configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not strict JSON, or fields are missing or of a wrong type.
    #[error("malformed image configuration")]
    Malformed(#[from] StrictJsonError),
    /// The root file system is not made of layers.
    #[error("unsupported root file system type {0:?}")]
    RootFsType(String),
}

impl ImageConfig {
    /// Returns the configuration of an image without layers for `platform`.
    pub fn new(platform: &Platform) -> Self {
        let platform = platform.clone();
        Self {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            os_version: platform.os_version,
            os_features: platform.os_features,
            ..Self::default()
        }
    }

    /// Returns the configuration that `bytes` hold, read strictly.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = shape(parse_value(bytes)?)?;
        match config.rootfs.kind.as_str() {
            "layers" => Ok(config),
            other => Err(ConfigError::RootFsType(other.to_owned())),
        }
    }

    /// Returns the bytes to store: compact, the top-level keys sorted.
    pub fn to_bytes(&self) -> Vec<u8> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => {
                let sorted: BTreeMap<String, Value> = map.into_iter().collect();
                serde_json::to_vec(&sorted).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// Returns what the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
        .normalized()
    }
}

/// Returns the time `seconds` after the epoch as RFC 3339 in UTC; none if out of range.
pub fn timestamp(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds)
        .ok()
        .map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERS: &str = r#"{"os":"linux","architecture":"amd64","moby.buildkit.x":[{"k":1}],
        "rootfs":{"type":"layers","diff_ids":[]},
        "config":{"Env":null,"Entrypoint":["a"],"Volumes":{"/v":{}},"Labels":null,
        "Healthcheck":{"Test":["NONE"]},"Hostname":"h","Cmd":null}}"#;

    #[test]
    fn unknown_keys_survive_and_top_level_keys_are_sorted() {
        let config = ImageConfig::parse(DOCKERS.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(config.to_bytes()).unwrap(),
            concat!(
                r#"{"architecture":"amd64","config":{"Entrypoint":["a"],"Volumes":{"/v":{}},"#,
                r#""Healthcheck":{"Test":["NONE"]},"Hostname":"h"},"moby.buildkit.x":[{"k":1}],"#,
                r#""os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#
            )
        );
    }

    #[test]
    fn forged_diff_ids_and_other_root_file_systems_are_refused() {
        let with = |rootfs: &str| {
            ImageConfig::parse(format!(r#"{{"os":"linux","rootfs":{rootfs}}}"#).as_bytes())
        };
        assert!(with(r#"{"type":"layers","diff_ids":["sha256:../../x"]}"#).is_err());
        assert!(matches!(
            with(r#"{"type":"x","diff_ids":[]}"#),
            Err(ConfigError::RootFsType(_))
        ));
        assert!(with(r#"{"type":"layers","diff_ids":null}"#).is_ok());
    }

    #[test]
    fn time_stamps_have_no_fraction() {
        assert_eq!(timestamp(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(i64::MAX), None);
    }
}
