//! Where images are copied from and to, in the words of skopeo.

use crate::commands::save::packing;
use crate::error::{Class, Failure};
use crate::lookup::Found;
use crate::session::parse_reference;
use kiln_engine::Compression;
use kiln_engine::disk::Store;
use kiln_oci::{Descriptor, Reference};
use kiln_transfer::images;
use kiln_transfer::layout_name::{LayoutName, parse_layout_name};
use kiln_transfer::sink::save::{self, Saved};
use kiln_transfer::sink::{ArchiveOptions, Destination};
use kiln_transfer::source::load::{LoadInput, load};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tempfile::TempDir;

/// A place that has images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Registry(Reference),
    Layout {
        path: PathBuf,
        named: LayoutName,
    },
    Archive {
        format: ArchiveFormat,
        path: PathBuf,
        name: Option<Reference>,
    },
}

/// Which archive is written; any is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    Docker,
    Oci,
}

impl FromStr for Place {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Place::Registry(parse_reference(name)?));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return layout(rest);
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return archive(ArchiveFormat::Docker, rest);
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return archive(ArchiveFormat::Oci, rest);
        }
        for scheme in ["dir:", "containers-storage:", "docker-daemon:", "ostree:"] {
            if text.starts_with(scheme) {
                let hint = "use NAME, oci:DIR, oci-archive:FILE or docker-archive:FILE";
                let message = format!("`{scheme}` is not supported");
                return Err(Failure::usage(message).with_hint(hint));
            }
        }
        Ok(Place::Registry(parse_reference(text)?))
    }
}

fn layout(text: &str) -> Result<Place, Failure> {
    let (path, named) = parse_layout_name(text, Path::is_dir)
        .map_err(|error| Failure::from_error(Class::Usage, &error))?;
    if path.as_os_str().is_empty() {
        return Err(no_path());
    }
    Ok(Place::Layout { path, named })
}

fn archive(format: ArchiveFormat, text: &str) -> Result<Place, Failure> {
    let (path, name) = match text.split_once(':') {
        Some((path, name)) => (path, Some(parse_reference(name)?)),
        None => (text, None),
    };
    Ok(Place::Archive {
        format,
        path: named_path(path)?,
        name,
    })
}

fn named_path(path: &str) -> Result<PathBuf, Failure> {
    match path.is_empty() {
        false => Ok(path.into()),
        true => Err(no_path()),
    }
}

fn no_path() -> Failure {
    Failure::usage("a path is missing").with_hint("write it as oci:DIR:TAG")
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Registry(reference) => write!(formatter, "{reference}"),
            Place::Layout { path, named } => match &named.name {
                Some(name) => write!(formatter, "oci:{}:{name}", path.display()),
                None => write!(formatter, "oci:{}", path.display()),
            },
            Place::Archive { format, path, .. } => match format {
                ArchiveFormat::Docker => write!(formatter, "docker-archive:{}", path.display()),
                ArchiveFormat::Oci => write!(formatter, "oci-archive:{}", path.display()),
            },
        }
    }
}

/// Returns the directory in which `path` lies.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Room for the parts of an archive that is read or written; gone when dropped.
pub struct Scratch {
    store: Store,
    _directory: TempDir,
}

impl Scratch {
    /// Returns room in `directory`.
    pub fn make(directory: &Path) -> Result<Self, Failure> {
        let made = tempfile::Builder::new()
            .prefix(".kiln-copy-")
            .tempdir_in(directory);
        let made = made.map_err(|error| {
            let message = format!(
                "cannot make a temporary directory in {}",
                directory.display()
            );
            Failure::caused(Class::Store, message, &error)
        })?;
        Ok(Scratch {
            store: Store::open(&made.path().join("store"))?,
            _directory: made,
        })
    }

    /// Returns the parts.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads the archive at `path` and returns the image called `name`, or the only one.
    pub fn read(&self, path: &Path, name: Option<&Reference>) -> Result<Descriptor, Failure> {
        let mut loaded = load(&self.store, LoadInput::Path(path), &[])?;
        let names: Vec<String> = loaded
            .iter()
            .flat_map(|image| &image.names)
            .map(Reference::familiar)
            .collect();
        if let Some(name) = name {
            loaded.retain(|image| image.names.contains(name));
        }
        let listed = match names.is_empty() {
            true => "none of its images has a name".to_owned(),
            false => format!("its images are {}", names.join(", ")),
        };
        match loaded.as_slice() {
            [image] => Ok(image.target.clone()),
            [] => {
                let message = format!("{} has no image of that name", path.display());
                Err(Failure::new(Class::Image, message).with_hint(listed))
            }
            several => {
                let message = format!("{} has {} images", path.display(), several.len());
                Err(Failure::new(Class::Image, message)
                    .with_hint(format!("name one after the path: {listed}")))
            }
        }
    }

    /// Writes `target`, whose parts are here, as an archive.
    pub fn write(
        &self,
        format: ArchiveFormat,
        path: &Path,
        name: Option<&Reference>,
        target: &Descriptor,
    ) -> Result<(), Failure> {
        let store = &self.store;
        let found = Found {
            name: name.cloned(),
            target: target.clone(),
        };
        let images = images::present(store, target)?;
        let compression = Compression::Gzip { level: None };
        let packing = packing(store, &found, &images, true, compression)?;
        let saved = Saved {
            images,
            options: ArchiveOptions {
                names: name.iter().map(|&name| name.clone()).collect(),
                packing,
                created: None,
            },
        };
        let destination = Destination::File(path);
        match format {
            ArchiveFormat::Docker => save::docker_archive(store, &[saved], destination, &|_| {})?,
            ArchiveFormat::Oci => save::oci_archive(store, &[saved], destination, &|_| {})?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_skopeo_writes_them() {
        let reference = |text: &str| text.parse::<Reference>().unwrap();
        let layout = |path: &str, name: Option<&str>| Place::Layout {
            path: path.into(),
            named: LayoutName {
                name: name.map(str::to_owned),
                digest: None,
            },
        };
        let archive = |format, path: &str, name: Option<&str>| Place::Archive {
            format,
            path: path.into(),
            name: name.map(reference),
        };
        let table = [
            (
                "docker://r.example/a:1",
                Place::Registry(reference("r.example/a:1")),
            ),
            ("alpine", Place::Registry(reference("alpine"))),
            ("oci:/d/layout:1.0", layout("/d/layout", Some("1.0"))),
            ("oci:layout", layout("layout", None)),
            (
                "docker-archive:/a.tar:app:1",
                archive(ArchiveFormat::Docker, "/a.tar", Some("app:1")),
            ),
            (
                "oci-archive:a.tar",
                archive(ArchiveFormat::Oci, "a.tar", None),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Place>().unwrap(), expected, "{text}");
        }
        for text in [
            "oci:",
            "dir:x",
            "docker-archive:a.tar:A B",
            "oci:a@sha256:x",
            "Not A Name",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
