//! Whether the store still holds what it says: everything is read and hashed again.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_layer::capture::{CaptureError, CaptureOptions, capture};
use kiln_layer::digest::DigestWriter;
use kiln_oci::{Algorithm, Digest};
use serde::de::DeserializeOwned;

use crate::blobs::digest_of;
use crate::compressed::CompressedLayer;
use crate::error::{At, Error, Result};
use crate::images::{NamedImage, list_files};
use crate::layers::Chain;
use crate::{LayerFacts, LayerId, LayerOrigin, Record, Store, durable, whiteout_format};

/// What [`Store::verify`] looks at next, for those who show progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// A blob.
    Blob(PathBuf),
    /// A layer.
    Layer(LayerId),
}

/// Something in the store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or directory.
    pub path: PathBuf,
    /// Why it is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.reason)
    }
}

/// What [`Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many blobs were hashed.
    pub blobs: usize,
    /// How many layers were captured again and compared.
    pub layers: usize,
    /// How many layers could not be compared: nobody has their digest yet.
    pub layers_unknown: usize,
    /// How many records and names were looked at.
    pub names: usize,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

impl Report {
    fn add(&mut self, path: &Path, reason: impl fmt::Display) {
        self.problems.push(Problem {
            path: path.to_owned(),
            reason: reason.to_string(),
        });
    }

    /// Adds `error` as a problem; one that names a path already is put into one line.
    fn add_error(&mut self, path: &Path, error: &dyn std::error::Error) {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        self.add(path, reason);
    }
}

impl Store {
    /// Hashes all blobs, captures all layers whose digest is known, follows all names, and
    /// reports everything that is not as it should be.
    ///
    /// Runs beside others; what they add meanwhile may be missed. Errors only when the
    /// store's own folders cannot be read.
    pub fn verify(&self, observe: &mut dyn FnMut(&Checked)) -> Result<Report> {
        let mut report = Report::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            self.verify_blobs(algorithm, &mut report, observe)?;
        }
        for layer in self.layers().list()? {
            observe(&Checked::Layer(layer.clone()));
            self.verify_layer(&layer, &mut report);
        }
        self.verify_records(&mut report)?;
        self.verify_chains(&mut report)?;
        self.verify_compressed(&mut report)?;
        self.verify_images(&mut report)?;
        Ok(report)
    }

    fn verify_blobs(
        &self,
        algorithm: Algorithm,
        report: &mut Report,
        observe: &mut dyn FnMut(&Checked),
    ) -> Result<()> {
        for path in list_files(&self.path("blobs").join(algorithm.as_str()))? {
            observe(&Checked::Blob(path.clone()));
            match verify_blob(&path, algorithm) {
                Ok(None) => report.blobs += 1,
                Ok(Some(reason)) => report.add(&path, reason),
                // Taken away meanwhile by somebody who needs room.
                Err(_) if !path.exists() => {}
                Err(error) => report.add_error(&path, &error),
            }
        }
        Ok(())
    }

    fn verify_records(&self, report: &mut Report) -> Result<()> {
        for folder in list_files(&self.path("records"))? {
            for path in list_files(&folder)? {
                match durable::read_lazy_json::<Record>(&path) {
                    Ok(Some(record)) => self.verify_record(&path, &record, report),
                    // Gone meanwhile, or lost in a power cut.
                    Ok(None) => {}
                    Err(error) => report.add_error(&path, &error),
                }
            }
        }
        Ok(())
    }

    fn verify_chains(&self, report: &mut Report) -> Result<()> {
        for path in list_files(&self.path("chains"))? {
            verify_readable::<Chain>(&path, report);
        }
        Ok(())
    }

    fn verify_compressed(&self, report: &mut Report) -> Result<()> {
        for folder in list_files(&self.path("compressed"))? {
            for path in list_files(&folder)? {
                verify_readable::<CompressedLayer>(&path, report);
            }
        }
        Ok(())
    }

    fn verify_record(&self, path: &Path, record: &Record, report: &mut Report) {
        report.names += 1;
        let layers = record.result.iter();
        let mut missing = layers.filter(|layer| !self.layers().exists(layer));
        if let Some(layer) = missing.next() {
            // Records go before their layers: one that is gone by now was right.
            let now = durable::read_lazy_json::<Record>(path);
            if matches!(now, Ok(Some(now)) if now.result == record.result) {
                report.add(path, Error::LayerMissing(layer.clone()));
            }
        }
    }

    fn verify_images(&self, report: &mut Report) -> Result<()> {
        for path in self.images().files()? {
            match durable::read_json::<NamedImage>(&path) {
                Ok(Some(image)) => self.verify_image(&path, &image, report),
                Ok(None) => {}
                Err(error) => report.add_error(&path, &error),
            }
        }
        Ok(())
    }

    fn verify_image(&self, path: &Path, image: &NamedImage, report: &mut Report) {
        report.names += 1;
        let target = &image.target;
        match self.blobs().size(&target.digest) {
            Ok(size) if size == target.size => {}
            Ok(size) => {
                report.add(
                    path,
                    format!("its manifest has {size} bytes, not {}", target.size),
                );
            }
            // The name may have been taken away meanwhile, and the manifest after it.
            Err(error) => match durable::read_json::<NamedImage>(path) {
                Ok(Some(now)) if now.target == *target => report.add_error(path, &error),
                _ => {}
            },
        }
    }
}

/// Reports a lazily written file that is damaged.
fn verify_readable<T: DeserializeOwned>(path: &Path, report: &mut Report) {
    match durable::read_lazy_json::<T>(path) {
        Ok(_) => report.names += 1,
        Err(error) => report.add_error(path, &error),
    }
}

/// Returns what is wrong with a blob.
fn verify_blob(path: &Path, algorithm: Algorithm) -> Result<Option<String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Ok(expected) = format!("{algorithm}:{name}").parse::<Digest>() else {
        return Ok(Some("its name is not a digest".to_owned()));
    };
    let mut file = File::open(path).at("open", path)?;
    let found = digest_of(&mut file, algorithm).at("read", path)?;
    Ok((found != expected).then(|| format!("its content has digest {found}")))
}

impl Store {
    /// Captures a layer again, if it is known what comes out, and compares.
    fn verify_layer(&self, layer: &LayerId, report: &mut Report) {
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
        let path = self.layers().diff_path(layer);
        let facts_path = self.layers().facts_path(layer);
        let facts = match durable::read_lazy_json::<LayerFacts>(&facts_path) {
            Ok(facts) => facts,
            Err(error) => return report.add_error(&facts_path, &error),
        };
        let Some((expected, clamp_mtime_seconds)) = facts.and_then(expected_capture) else {
            report.layers_unknown += 1;
            return;
        };
        match capture_digest(&path, clamp_mtime_seconds) {
            Ok(found) if found == expected => report.layers += 1,
            Ok(found) => {
                report.add(
                    &path,
                    format!("its archive has digest {found}, expected {expected}"),
                );
            }
            Err(error) => report.add_error(&path, &error),
        }
    }
}

/// Returns the digest of a layer's canonical archive, and how that was made.
fn expected_capture(facts: LayerFacts) -> Option<(Digest, Option<i64>)> {
    match facts.origin {
        LayerOrigin::Captured {
            clamp_mtime_seconds,
        } => Some((facts.diff_id.0, clamp_mtime_seconds)),
        LayerOrigin::Unpacked { capture_digest } => Some((capture_digest?, None)),
    }
}

fn capture_digest(path: &Path, clamp_mtime_seconds: Option<i64>) -> Result<Digest, CaptureError> {
    let mut sink = DigestWriter::new(std::io::sink());
    capture(
        path,
        whiteout_format(),
        &mut sink,
        &CaptureOptions {
            clamp_mtime_seconds,
        },
    )?;
    let (_, digest, _) = sink.finish();
    Ok(digest)
}
