//! Whether a layer's files are still what they were.

use std::path::{Path, PathBuf};

use kiln_layer::archive::unpack;
use kiln_layer::capture::{CaptureError, CaptureOptions, capture_union};
use kiln_layer::compress::{ArchiveCompression, decompressor};
use kiln_layer::digest::{DigestReader, DigestWriter};
use kiln_layer::tree::Tree;
use kiln_oci::{Digest, MediaKind};
use serde::{Deserialize, Serialize};

use super::{Damage, Report};
use crate::{LayerFacts, LayerId, LayerOrigin, Store, durable};

/// The name under which chains of compressed layers have the blob that was pulled.
const PULLED: &str = "pulled";

/// What a layer's canonical archive was when it was looked at first: `checked.json` beside it.
#[derive(Debug, Serialize, Deserialize)]
struct CheckedLayer {
    capture_digest: Digest,
}

/// What a layer's canonical archive should be.
struct Expected {
    digest: Digest,
    clamp_mtime_seconds: Option<i64>,
}

impl Store {
    /// Reads a layer that a record or a chain names, and compares it with what it was.
    pub(super) fn verify_layer(&self, layer: &LayerId, report: &mut Report) {
        let mut found = Report::default();
        self.verify_layer_there(layer, &mut found);
        report.layers += found.layers;
        report.layers_unknown += found.layers_unknown;
        // What somebody who needs room took away while it was read is no problem.
        if self.layers().exists(layer) {
            report.problems.extend(found.problems);
        }
    }

    fn verify_layer_there(&self, layer: &LayerId, report: &mut Report) {
        let facts_path = self.layers().facts_path(layer);
        let facts = match durable::read_lazy_json::<LayerFacts>(&facts_path) {
            Ok(facts) => facts,
            Err(error) => return report.add_error(Damage::File, &facts_path, &error),
        };
        let checked_path = self.checked_path(layer);
        let checked = match durable::read_lazy_json::<CheckedLayer>(&checked_path) {
            Ok(checked) => checked,
            Err(error) => return report.add_error(Damage::File, &checked_path, &error),
        };
        let is_checked = checked.is_some();
        let expected = self.expected(checked, facts);
        let clamp = expected.as_ref().and_then(|one| one.clamp_mtime_seconds);
        let directories = self.layers().directories(layer);
        let path = directories.last().expect("a layer has a directory");
        let damage = || Damage::Layer(layer.clone());
        let found = match self.capture_digest(&directories, clamp) {
            Ok(found) => found,
            Err(error) => return report.add_error(damage(), path, &error),
        };
        match expected {
            Some(expected) if expected.digest != found => {
                let expected = expected.digest;
                let reason = format!("its archive has digest {found}, expected {expected}");
                return report.add(damage(), path, reason);
            }
            Some(_) => report.layers += 1,
            None => report.layers_unknown += 1,
        }
        if !is_checked && clamp.is_none() {
            self.remember_checked(&checked_path, found);
        }
    }

    fn expected(
        &self,
        checked: Option<CheckedLayer>,
        facts: Option<LayerFacts>,
    ) -> Option<Expected> {
        let plain = |digest| Expected {
            digest,
            clamp_mtime_seconds: None,
        };
        if let Some(checked) = checked {
            return Some(plain(checked.capture_digest));
        }
        let facts = facts?;
        match &facts.origin {
            LayerOrigin::Captured {
                clamp_mtime_seconds,
            } => Some(Expected {
                digest: facts.diff_id.0,
                clamp_mtime_seconds: *clamp_mtime_seconds,
            }),
            LayerOrigin::Unpacked {
                capture_digest: Some(digest),
                ..
            } => Some(plain(digest.clone())),
            LayerOrigin::Unpacked { .. } => self.unpacked_anew(&facts).map(plain),
        }
    }

    /// Unpacks the blob of a pulled layer once more and returns the digest of its canonical
    /// archive; nothing where that cannot be done, or the blob is not that layer's.
    fn unpacked_anew(&self, facts: &LayerFacts) -> Option<Digest> {
        let descriptor = self.compressed().get(&facts.diff_id, PULLED).ok()??;
        let MediaKind::Layer(encoding) = descriptor.media_type.kind() else {
            return None;
        };
        let blob = self.blobs().open(&descriptor.digest).ok()?;
        let input = decompressor(ArchiveCompression::from(encoding), blob).ok()?;
        let mut input = DigestReader::new(input);
        let active = self.layers().begin().ok()?;
        let format = self.whiteout_format();
        let lowers = self.lowers(facts)?;
        let mut tree = Tree::open_for_write(&lowers, &active.upper(), format).ok()?;
        unpack(&mut input, &mut tree, &self.layer_options()).ok()?;
        let (_, digest, _) = input.finish();
        if digest != facts.diff_id.0 {
            return None;
        }
        self.capture_digest(&[active.upper()], None).ok()
    }

    /// Returns the directories of the layers below a pulled one, bottom first.
    fn lowers(&self, facts: &LayerFacts) -> Option<Vec<PathBuf>> {
        let mut lowers = Vec::new();
        let mut origin = facts.origin.clone();
        while let LayerOrigin::Unpacked {
            parent: Some(layer),
            ..
        } = origin
        {
            lowers.push(layer.clone());
            origin = self.layers().facts(&layer).ok()??.origin;
        }
        let bottom_first = lowers.iter().rev();
        Some(
            bottom_first
                .flat_map(|layer| self.layers().directories(layer))
                .collect(),
        )
    }

    fn remember_checked(&self, path: &Path, capture_digest: Digest) {
        let checked = CheckedLayer { capture_digest };
        // Where it cannot be kept, the next look at the layer takes longer.
        let _ = self
            .temporary()
            .and_then(|temporary| durable::write_json_lazily(temporary, path, &checked));
    }

    fn checked_path(&self, layer: &LayerId) -> PathBuf {
        self.layers().folder(layer).join("checked.json")
    }

    fn capture_digest(
        &self,
        directories: &[PathBuf],
        clamp_mtime_seconds: Option<i64>,
    ) -> Result<Digest, CaptureError> {
        let mut sink = DigestWriter::new(std::io::sink());
        capture_union(
            directories,
            self.whiteout_format(),
            &mut sink,
            &CaptureOptions {
                clamp_mtime_seconds,
            },
        )?;
        let (_, digest, _) = sink.finish();
        Ok(digest)
    }
}
