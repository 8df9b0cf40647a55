//! Images that exist only here, and the folders of Dockerfiles.

use kiln_dockerfile::{ImageResolver, ResolveError, ResolvedBase};
use kiln_oci::{DiffId, Digest, Healthcheck, HistoryEntry, ImageConfig, Platform, Reference};
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

/// Returns the lines that differ, `-` before expected and `+` before actual ones, each with a
/// line around it.
#[allow(dead_code, reason = "not all tests compare texts")]
pub fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), actual.lines().collect());
    let edits = edits(&expected, &actual);
    let is_near = |index: usize| {
        let around = index.saturating_sub(1)..=(index + 1).min(edits.len() - 1);
        around.into_iter().any(|near| edits[near].0 != ' ')
    };
    let mut text = String::new();
    let mut is_gap = false;
    for (index, (mark, line)) in edits.iter().enumerate() {
        match is_near(index) {
            true => text.push_str(&format!("{mark} {line}\n")),
            false if !is_gap => text.push_str("  ...\n"),
            false => {}
        }
        is_gap = !is_near(index);
    }
    text
}

/// Returns the lines of both texts in one order: ` ` for those of both.
fn edits<'t>(expected: &[&'t str], actual: &[&'t str]) -> Vec<(char, &'t str)> {
    // common[i][j]: how many lines expected[i..] and actual[j..] have in common.
    let mut common = vec![vec![0usize; actual.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..actual.len()).rev() {
            common[i][j] = match expected[i] == actual[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::new();
    while i < expected.len() || j < actual.len() {
        if i < expected.len() && j < actual.len() && expected[i] == actual[j] {
            edits.push((' ', expected[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == actual.len() || i < expected.len() && common[i + 1][j] >= common[i][j + 1] {
            edits.push(('-', expected[i]));
            i += 1;
        } else {
            edits.push(('+', actual[j]));
            j += 1;
        }
    }
    edits
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
        let familiar = reference.familiar();
        // A name with a digest says all that there is to say.
        let name_alone = familiar.split('@').next().unwrap_or(&familiar);
        match name_alone {
            "alpine:3" if reference.digest().is_some() => {}
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
            "described" => {
                container.labels = [("kept".to_owned(), "base".to_owned())].into();
                container.exposed_ports = ["80/tcp".to_owned()].into();
                container.volumes = ["/data".to_owned()].into();
                container.stop_signal = Some("SIGQUIT".to_owned());
                container.healthcheck = Some(Healthcheck {
                    test: vec!["CMD".to_owned(), "/ok".to_owned()],
                    ..Healthcheck::default()
                });
                config.author = Some("base".to_owned());
            }
            "windows" => config.os = "windows".to_owned(),
            "copying-trigger" => container.on_build = vec!["COPY --from=assets /a /b".to_owned()],
            "nested-trigger" => container.on_build = vec!["ONBUILD RUN a".to_owned()],
            "heredoc-trigger" => {
                container.on_build = vec!["RUN <<END\nfirst\nsecond\nEND\n".to_owned()];
            }
            "failing-trigger" => container.on_build = vec!["EXPOSE http".to_owned()],
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
