//! Descriptions of devices, as JSON or YAML.

use super::CdiError;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// More than any description has that is not a mistake.
const LARGEST_BYTES: u64 = 1 << 20;

/// A file that describes devices of one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Specification {
    #[serde(rename = "cdiVersion")]
    _version: String,
    /// `vendor/class`.
    pub kind: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub devices: Vec<Device>,
    /// What any of the devices needs.
    #[serde(default)]
    pub container_edits: ContainerEdits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub name: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub container_edits: ContainerEdits,
}

/// What a container needs. What is not known is refused: the device may not work without.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ContainerEdits {
    #[serde(default)]
    pub env: Vec<String>,
    #[serde(default)]
    pub device_nodes: Vec<DeviceNode>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    #[serde(default)]
    pub hooks: Vec<IgnoredAny>,
    #[serde(default)]
    pub intel_rdt: Option<IgnoredAny>,
    #[serde(default)]
    pub net_devices: Vec<IgnoredAny>,
    #[serde(default)]
    pub additional_gids: Vec<u32>,
}

/// A node; its numbers, mode and owner are those that it has on this machine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceNode {
    pub path: String,
    #[serde(default)]
    pub host_path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub host_path: PathBuf,
    pub container_path: String,
    #[serde(default)]
    pub options: Vec<String>,
}

/// Returns the descriptions in `directory`, in order of their names; none where it is absent.
pub(super) fn files_in(directory: &Path) -> Result<Vec<PathBuf>, CdiError> {
    let failed = |source| CdiError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("json" | "yaml" | "yml")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads a description; JSON is YAML, too, but its messages are better.
pub(super) fn read(path: &Path) -> Result<Specification, CdiError> {
    let text = read_text(path)?;
    let parsed = match path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        true => serde_json::from_str(&text).map_err(|error| error.to_string()),
        false => serde_saphyr::from_str(&text).map_err(|error| error.to_string()),
    };
    let malformed = |reason: String| CdiError::Malformed {
        path: path.to_owned(),
        // One line: the rest of a YAML message is an excerpt.
        reason: reason.lines().next().unwrap_or_default().to_owned(),
    };
    let specification: Specification = parsed.map_err(malformed)?;
    match specification.kind.split_once('/') {
        Some((vendor, class)) if !vendor.is_empty() && !class.is_empty() => Ok(specification),
        _ => Err(malformed(format!(
            "its kind `{}` is not vendor/class",
            specification.kind
        ))),
    }
}

fn read_text(path: &Path) -> Result<String, CdiError> {
    let failed = |source| CdiError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > LARGEST_BYTES {
        return Err(CdiError::Malformed {
            path: path.to_owned(),
            reason: "it is no file of at most 1 MiB".to_owned(),
        });
    }
    std::fs::read_to_string(path).map_err(failed)
}
