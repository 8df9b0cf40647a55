//! What a store says about itself: `kiln-store.json`.
//!
//! The version is raised when the layout changes for everybody. Features are named: an
//! unknown *compatible* one is ignored, an unknown *read-only compatible* one forbids
//! writing, an unknown *incompatible* one forbids use. This program always writes, so the
//! last two are the same to it. A store that is refused is not touched.

use std::io::{self, Write};
use std::path::Path;

use kiln_layer::tree::WhiteoutFormat;
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::session::Temporary;
use crate::{durable, layer_format, random};

/// The newest version that this program knows, and the one it makes.
pub(crate) const VERSION: u64 = 1;

/// The file's name in the root.
pub(crate) const FILE_NAME: &str = "kiln-store.json";

/// Every store has all of this: what is absent has been damaged, and nobody may take a store of
/// one form for one of another.
#[derive(Debug, Serialize, Deserialize)]
struct Format {
    version: u64,
    features: Features,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Features {
    compatible: Vec<String>,
    read_only_compatible: Vec<String>,
    incompatible: Vec<String>,
}

/// Only what every version will have: a newer one may mean something else by the rest.
#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

/// Brings the store in a directory from one version to the next.
///
/// May have been begun before: whoever is killed on the way leaves the version as it was.
type Upgrade = fn(&Path) -> Result<()>;

/// From version 1 to 2, from 2 to 3, and so on to [`VERSION`].
const UPGRADES: &[Upgrade] = &[];
const _: () = assert!(UPGRADES.len() as u64 + 1 == VERSION);

/// Whether there was a store already, and the form of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Present(WhiteoutFormat),
    /// One of an older version, to be brought forward by [`bring_forward`].
    Old(WhiteoutFormat),
    Absent,
}

/// Checks that the store in `root` can be used.
///
/// Errors: [`Error::NewerVersion`], [`Error::UnknownFeature`], [`Error::OtherLayers`],
/// [`Error::NotAStore`].
pub(crate) fn check(root: &Path) -> Result<Presence> {
    let path = root.join(FILE_NAME);
    match std::fs::read(&path) {
        Ok(bytes) => check_bytes(root, &path, &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_empty(root, &path),
        Err(error) => Err(error).at("read", &path),
    }
}

fn check_bytes(root: &Path, path: &Path, bytes: &[u8]) -> Result<Presence> {
    let malformed = |source| Error::Malformed {
        path: path.to_owned(),
        source,
    };
    let VersionOnly { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version > VERSION {
        let path = root.to_owned();
        return Err(Error::NewerVersion {
            path,
            found: version,
            known: VERSION,
        });
    }
    let Features {
        read_only_compatible,
        incompatible,
        ..
    } = serde_json::from_slice::<Format>(bytes)
        .map_err(malformed)?
        .features;
    let mut features = incompatible.into_iter().chain(read_only_compatible);
    let (known, unknown): (Vec<_>, Vec<_>) = features
        .by_ref()
        .partition(|name| layer_format::FEATURES.contains(&name.as_str()));
    if let Some(feature) = unknown.into_iter().next() {
        return Err(Error::UnknownFeature {
            path: root.to_owned(),
            feature,
        });
    }
    let feature = known.into_iter().next();
    match layer_format::of_feature(feature.as_deref()) {
        Some(format) if version < VERSION => Ok(Presence::Old(format)),
        Some(format) => Ok(Presence::Present(format)),
        None => Err(Error::OtherLayers {
            path: root.to_owned(),
            made: layer_format::made(feature.as_deref()),
            here: layer_format::here(),
        }),
    }
}

/// Brings the store in `root` to the version of this program. The caller has it alone.
pub(crate) fn bring_forward(root: &Path) -> Result<()> {
    bring_forward_by(UPGRADES, root)
}

fn bring_forward_by(upgrades: &[Upgrade], root: &Path) -> Result<()> {
    let path = root.join(FILE_NAME);
    let malformed = |source| Error::Malformed {
        path: path.clone(),
        source,
    };
    let bytes = std::fs::read(&path).at("read", &path)?;
    // What this program does not know of the file stays in it.
    let mut format: serde_json::Value = serde_json::from_slice(&bytes).map_err(malformed)?;
    let mut version = format["version"].as_u64().unwrap_or(1).max(1);
    let done = usize::try_from(version - 1).unwrap_or(usize::MAX);
    for upgrade in upgrades.iter().skip(done) {
        upgrade(root)?;
        version += 1;
        format["version"] = version.into();
        let bytes = serde_json::to_vec(&format).map_err(malformed)?;
        publish(root, &bytes)?;
    }
    Ok(())
}

/// Refuses a directory that holds somebody's files.
fn check_empty(root: &Path, version_file: &Path) -> Result<Presence> {
    for entry in std::fs::read_dir(root).at("read directory", root)? {
        let name = entry.at("read directory", root)?.file_name();
        // A fresh file system has the one; a store being made by another process the other.
        let is_ours = name == "lost+found" || name.to_string_lossy().starts_with(FILE_NAME);
        if !is_ours && !version_file.exists() {
            return Err(Error::NotAStore {
                path: root.to_owned(),
            });
        }
    }
    Ok(Presence::Absent)
}

/// Writes the file of a new store; several processes may do so at once, to the same effect.
/// Returns the form of its layers.
pub(crate) fn write(root: &Path) -> Result<WhiteoutFormat> {
    let layers = layer_format::of_new(root);
    let format = Format {
        version: VERSION,
        features: Features {
            incompatible: layer_format::feature_of(layers)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            ..Features::default()
        },
    };
    let malformed = |source| Error::Malformed {
        path: root.join(FILE_NAME),
        source,
    };
    publish(root, &serde_json::to_vec(&format).map_err(malformed)?)?;
    Ok(layers)
}

fn publish(root: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = root.join(format!("{FILE_NAME}.{}", random::hexadecimal(8)));
    let temporary = Temporary::create(temporary)?;
    (&temporary.file)
        .write_all(bytes)
        .at("write", temporary.path())?;
    durable::publish(temporary, &root.join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes that it ran, and in which order.
    fn note(root: &Path, what: &str) -> Result<()> {
        let path = root.join("notes");
        let notes = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, notes + what).at("write", &path)
    }

    fn two(root: &Path) -> Result<()> {
        note(root, "1→2 ")
    }

    fn three(root: &Path) -> Result<()> {
        note(root, "2→3 ")
    }

    fn broken(root: &Path) -> Result<()> {
        note(root, "broken ")?;
        Err(io::Error::from(io::ErrorKind::StorageFull)).at("write", root)
    }

    fn store_of(version: u64) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let text = format!(r#"{{"version":{version},"made_by":"somebody"}}"#);
        std::fs::write(root.path().join(FILE_NAME), text).unwrap();
        root
    }

    fn read(root: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(root.path().join(name)).unwrap_or_default()
    }

    fn version_file(root: &tempfile::TempDir) -> serde_json::Value {
        serde_json::from_str(&read(root, FILE_NAME)).unwrap()
    }

    #[test]
    fn older_store_is_brought_forward_one_version_after_the_other() {
        let root = store_of(1);
        bring_forward_by(&[two, three], root.path()).unwrap();
        assert_eq!(read(&root, "notes"), "1→2 2→3 ");
        assert_eq!(
            version_file(&root),
            serde_json::json!({"made_by": "somebody", "version": 3})
        );
        let root = store_of(2);
        bring_forward_by(&[two, three], root.path()).unwrap();
        assert_eq!(read(&root, "notes"), "2→3 ");
        bring_forward_by(&[two, three], root.path()).unwrap();
        assert_eq!(read(&root, "notes"), "2→3 ", "once");
    }

    #[test]
    fn upgrade_that_fails_leaves_the_version_before_and_is_done_again() {
        let root = store_of(1);
        bring_forward_by(&[two, broken], root.path()).unwrap_err();
        assert_eq!(
            version_file(&root),
            serde_json::json!({"made_by": "somebody", "version": 2})
        );
        bring_forward_by(&[two, three], root.path()).unwrap();
        assert_eq!(read(&root, "notes"), "1→2 broken 2→3 ");
    }
}
