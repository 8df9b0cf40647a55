//! Named images: reference → manifest or index. A name leads to its old image or to its
//! new one, never to nothing.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_oci::{Descriptor, Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::gc::Reached;
use crate::{Store, durable};

/// An image that has a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedImage {
    /// The normalised name.
    pub name: Reference,
    /// The manifest, or the index of a multi-platform image, with its platform.
    pub target: Descriptor,
    /// When the name was last set, in seconds since 1970.
    pub updated_seconds: i64,
}

/// The named images of a store.
#[derive(Debug, Clone, Copy)]
pub struct Images<'store> {
    store: &'store Store,
}

impl<'store> Images<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Returns the image that has the name.
    pub fn get(&self, name: &Reference) -> Result<Option<NamedImage>> {
        durable::read_json(&self.path(name))
    }

    /// Gives `target` the name, durably; takes it from the image that has it.
    ///
    /// What the image leads to, as far as it is in the store, is kept from now on.
    pub fn put(&self, name: &Reference, target: &Descriptor) -> Result<()> {
        let mut reached = Reached::default();
        reached.add(self.store, target)?;
        reached.lease(self.store)?;
        let updated_seconds = seconds_since_1970();
        let image = NamedImage {
            name: name.clone(),
            target: target.clone(),
            updated_seconds,
        };
        durable::write_json_through(self.store.temporary()?, &self.path(name), &image)
    }

    /// Takes the name away, durably, and returns the image that had it.
    pub fn remove(&self, name: &Reference) -> Result<Option<NamedImage>> {
        let image = self.get(name)?;
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => durable::sync_directory(&self.folder())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("remove", &path),
        }
        Ok(image)
    }

    /// Returns all named images in order of their names.
    pub fn list(&self) -> Result<Vec<NamedImage>> {
        let mut images: Vec<NamedImage> = Vec::new();
        for path in self.files()? {
            // A name may be taken away while we look.
            images.extend(durable::read_json::<NamedImage>(&path)?);
        }
        images.sort_by_cached_key(|image| image.name.to_string());
        Ok(images)
    }

    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        list_files(&self.folder())
    }

    fn folder(&self) -> PathBuf {
        self.store.path("images")
    }

    /// Names hold slashes and are long: the file is named by the name's digest.
    fn path(&self, name: &Reference) -> PathBuf {
        self.folder()
            .join(Digest::sha256(name.to_string().as_bytes()).hex())
    }
}

fn seconds_since_1970() -> i64 {
    // A clock before 1970 is as good as one at 1970.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the paths of what is in `folder`, sorted; none if there is no folder.
pub(crate) fn list_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(Error::Io {
                action: "read directory",
                path: folder.to_owned(),
                source,
            });
        }
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.at("read directory", folder)?.path());
    }
    paths.sort();
    Ok(paths)
}
