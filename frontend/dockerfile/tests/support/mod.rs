//! Images that exist only here, and the folders of Dockerfiles.

use kiln_dockerfile::{ImageResolver, ResolveError, ResolvedBase};
use kiln_oci::{DiffId, Digest, HistoryEntry, ImageConfig, Platform, Reference};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the folders of Dockerfiles, in order.
pub fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/dockerfile");
    let entries = fs::read_dir(&root).expect("the folder of Dockerfiles");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    folders.sort();
    folders
}

/// Knows a few images.
pub struct Fake;

impl ImageResolver for Fake {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let mut config = ImageConfig::new(platform);
        config.created = Some("2024-01-01T00:00:00Z".to_owned());
        let name = reference.to_string();
        let layer = Digest::sha256(format!("layer of {name} for {platform}"));
        config.rootfs.diff_ids = vec![DiffId(layer)];
        config.history = vec![HistoryEntry {
            created_by: Some("base".to_owned()),
            ..HistoryEntry::default()
        }];
        let container = &mut config.config;
        match reference.familiar().as_str() {
            "debian:12" | "alpine" | "debian:bookworm" => {
                container.env = vec!["PATH=/usr/bin:/bin".to_owned()];
                container.cmd = Some(vec!["sh".to_owned()]);
            }
            "configured" => {
                container.env = vec!["LANG=C.UTF-8".to_owned(), "A=base".to_owned()];
                container.user = "app:staff".to_owned();
                container.working_dir = "/srv".to_owned();
                container.shell = Some(vec!["/bin/bash".to_owned(), "-ec".to_owned()]);
                container.entrypoint = Some(vec!["/entry".to_owned()]);
                container.cmd = Some(vec!["serve".to_owned()]);
            }
            "triggers" => {
                container.on_build = vec![
                    "ARG VERSION=1".to_owned(),
                    "COPY package.json /app/".to_owned(),
                    "RUN install $VERSION".to_owned(),
                ];
            }
            "broken-trigger" => container.on_build = vec!["RUN --mount=type=x true".to_owned()],
            "arm-only" => config.architecture = "arm64".to_owned(),
            "empty" => config.rootfs.diff_ids.clear(),
            _ => return Err(format!("{name}: manifest unknown").into()),
        }
        Ok(ResolvedBase {
            digest: Digest::sha256(format!("manifest of {name} for {platform}")),
            platform: config.platform(),
            config,
        })
    }
}
