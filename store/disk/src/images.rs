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

/// The named images of a store, as far as they can be read.
#[derive(Debug, Default)]
pub struct ListedImages {
    /// Those that can, in order of their names.
    pub images: Vec<NamedImage>,
    /// An [`Error::DamagedName`] for each name that cannot.
    pub damaged: Vec<Error>,
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
        read(&self.path(name))
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

    /// Takes the name away, durably, and returns the image that had it; a damaged name goes too.
    pub fn remove(&self, name: &Reference) -> Result<Option<NamedImage>> {
        let image = match self.get(name) {
            Err(Error::DamagedName { .. }) => None,
            image => image?,
        };
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => durable::sync_directory(&self.folder())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("remove", &path),
        }
        Ok(image)
    }

    /// Returns all named images in order of their names.
    ///
    /// Errors: one of the names is damaged, which is for those who must not miss any;
    /// [`Images::list_sound`] is for all others.
    pub fn list(&self) -> Result<Vec<NamedImage>> {
        let mut listed = self.list_sound()?;
        match listed.damaged.is_empty() {
            true => Ok(listed.images),
            false => Err(listed.damaged.remove(0)),
        }
    }

    /// Returns the named images that can be read, and what is wrong with the others.
    pub fn list_sound(&self) -> Result<ListedImages> {
        let mut listed = ListedImages::default();
        for path in self.files()? {
            match read(&path) {
                // A name may be taken away while we look.
                Ok(image) => listed.images.extend(image),
                Err(error @ Error::DamagedName { .. }) => listed.damaged.push(error),
                Err(error) => return Err(error),
            }
        }
        listed
            .images
            .sort_by_cached_key(|image| image.name.to_string());
        Ok(listed)
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

/// Returns what the file of a name says; nothing if it is gone. Errors: [`Error::DamagedName`].
pub(crate) fn read(path: &Path) -> Result<Option<NamedImage>> {
    match durable::read_json(path) {
        Err(Error::Damaged(_) | Error::Malformed { .. }) => Err(Error::DamagedName {
            path: path.to_owned(),
            name: name_of(path),
        }),
        image => image,
    }
}

/// Returns the name in a damaged file, if it is left: the file is called by its digest.
fn name_of(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (_, after) = text.split_once("\"name\":\"")?;
    let (name, _) = after.split_once('"')?;
    let digest = Digest::sha256(name.as_bytes());
    (path.file_name()? == digest.hex()).then(|| name.to_owned())
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
