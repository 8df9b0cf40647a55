//! Small images to be served.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::FakeRegistry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layer: its uncompressed archive, and the diff ID that the configuration claims.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The archive.
    pub archive: Vec<u8>,
    /// The claim.
    pub diff_id: String,
}

impl Layer {
    /// Returns a layer of `files`: paths and contents.
    pub fn of_files(files: &[(&str, &[u8])]) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1);
            builder
                .append_data(&mut header, path, *content)
                .expect("a valid path");
        }
        let archive = builder.into_inner().expect("memory takes all");
        Self {
            diff_id: digest_of(&archive),
            archive,
        }
    }
}

/// Returns the SHA-256 digest of `bytes`.
pub fn digest_of(bytes: &[u8]) -> String {
    let hex: Vec<_> = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{}", hex.concat())
}

pub(super) fn add(
    registry: &FakeRegistry,
    repository: &str,
    tag: &str,
    layers: &[Layer],
) -> String {
    let describe = |layer: &Layer| {
        let digest = registry.add_blob(repository, &layer.archive);
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        json!({"mediaType": media_type, "digest": digest, "size": layer.archive.len()})
    };
    let descriptors: Vec<_> = layers.iter().map(describe).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string();
    let config_digest = registry.add_blob(repository, config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest,
            "size": config.len(),
        },
        "layers": descriptors,
    });
    registry.add_manifest(repository, tag, MANIFEST, manifest.to_string().as_bytes())
}
