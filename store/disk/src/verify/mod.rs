//! Whether the store still holds what it says: everything is read and hashed again.

mod layer;

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_oci::{Algorithm, Digest};
use serde::de::DeserializeOwned;

use crate::blobs::digest_of;
use crate::compressed::CompressedLayer;
use crate::error::{At, Error, Result};
use crate::images::{NamedImage, list_files};
use crate::layers::Chain;
use crate::{LayerId, Record, Store, durable, images};

/// What [`Store::verify`] looks at next, for those who show progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// A blob.
    Blob(PathBuf),
    /// A layer.
    Layer(LayerId),
}

/// What is damaged, and so what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// A blob has another content than its name says.
    Blob,
    /// The files of a layer are not what they were.
    Layer(LayerId),
    /// A record, a name, or what is known of something cannot be read, or leads nowhere.
    File,
}

/// Something in the store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is damaged.
    pub damage: Damage,
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
    /// How many layers were read again and compared with what they were.
    pub layers: usize,
    /// How many layers were read for the first time: the next time they can be compared.
    pub layers_unknown: usize,
    /// How many records and names were looked at.
    pub names: usize,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

impl Report {
    fn add(&mut self, damage: Damage, path: &Path, reason: impl fmt::Display) {
        self.problems.push(Problem {
            damage,
            path: path.to_owned(),
            reason: reason.to_string(),
        });
    }

    /// Adds `error` as a problem; one that names a path already is put into one line.
    fn add_error(&mut self, damage: Damage, path: &Path, error: &dyn std::error::Error) {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        self.add(damage, path, reason);
    }
}

impl Store {
    /// Hashes all blobs, reads all layers, follows all names, and reports everything that is not
    /// as it should be.
    ///
    /// A layer is compared with the digest of its canonical archive. Of a pulled layer nobody
    /// has that at first: its blob is unpacked once more, aside. Of a built layer that no image
    /// has had yet nobody knows anything: what is read the first time counts from then on.
    /// Runs beside others; what they add meanwhile may be missed. Errors only when the
    /// store's own folders cannot be read.
    pub fn verify(&self, observe: &mut dyn FnMut(&Checked)) -> Result<Report> {
        let mut report = Report::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            self.verify_blobs(algorithm, &mut report, observe)?;
        }
        let mut named = HashSet::new();
        self.verify_records(&mut report, &mut named)?;
        self.verify_chains(&mut report, &mut named)?;
        for layer in self.layers().list()? {
            // One that nothing names is nobody's: perhaps a power cut left half of it.
            if named.contains(&layer) {
                observe(&Checked::Layer(layer.clone()));
                self.verify_layer(&layer, &mut report);
            }
        }
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
                Ok(Some(reason)) => report.add(Damage::Blob, &path, reason),
                // Taken away meanwhile by somebody who needs room.
                Err(_) if !path.exists() => {}
                Err(error) => report.add_error(Damage::Blob, &path, &error),
            }
        }
        Ok(())
    }

    fn verify_records(&self, report: &mut Report, named: &mut HashSet<LayerId>) -> Result<()> {
        for folder in list_files(&self.path("records"))? {
            for path in list_files(&folder)? {
                match durable::read_lazy_json::<Record>(&path) {
                    Ok(Some(record)) => {
                        self.verify_record(&path, &record, report);
                        named.extend(self.layers().with_bases(&record.result));
                    }
                    // Gone meanwhile, or lost in a power cut.
                    Ok(None) => {}
                    Err(error) => report.add_error(Damage::File, &path, &error),
                }
            }
        }
        Ok(())
    }

    fn verify_chains(&self, report: &mut Report, named: &mut HashSet<LayerId>) -> Result<()> {
        for path in list_files(&self.path("chains"))? {
            let chain = verify_readable::<Chain>(&path, report);
            let layer = chain.map(|chain| chain.layer);
            named.extend(self.layers().with_bases(layer.as_slice()));
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
                report.add(Damage::File, path, Error::LayerMissing(layer.clone()));
            }
        }
    }

    fn verify_images(&self, report: &mut Report) -> Result<()> {
        for path in self.images().files()? {
            match images::read(&path) {
                Ok(Some(image)) => self.verify_image(&path, &image, report),
                Ok(None) => {}
                Err(Error::DamagedName {
                    name: Some(name), ..
                }) => {
                    let reason = format!("the name `{name}` of an image is damaged");
                    report.add(Damage::File, &path, reason);
                }
                Err(error) => report.add_error(Damage::File, &path, &error),
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
                    Damage::File,
                    path,
                    format!("its manifest has {size} bytes, not {}", target.size),
                );
            }
            // The name may have been taken away meanwhile, and the manifest after it.
            Err(error) => match durable::read_json::<NamedImage>(path) {
                Ok(Some(now)) if now.target == *target => {
                    report.add_error(Damage::File, path, &error)
                }
                _ => {}
            },
        }
    }
}

/// Returns what a lazily written file says, and reports it when it is damaged.
fn verify_readable<T: DeserializeOwned>(path: &Path, report: &mut Report) -> Option<T> {
    match durable::read_lazy_json::<T>(path) {
        Ok(value) => {
            report.names += 1;
            value
        }
        Err(error) => {
            report.add_error(Damage::File, path, &error);
            None
        }
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
