//! What the keys of records were made of, so that a miss can be explained.
//!
//! A recipe is written once for each result, under the key that identifies it, and read only
//! when somebody asks. It may be lost: then a miss stays unexplained, nothing else. What a step
//! read of a directory is kept as a list of files under the digest of the selection, so that
//! steps that read the same share it. The store does not look into that list.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{At, Result};
use crate::images::list_files;
use crate::{Store, durable, session, store};

/// What a key was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// What the operation says, apart from its inputs.
    pub facts: Vec<Fact>,
    /// What it starts from and reads.
    pub inputs: Vec<RecipeInput>,
}

/// One thing that a key was made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    /// What it is: `environment variable PATH`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One input of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeInput {
    /// The step or directory that it comes from.
    pub from: String,
    /// The paths that are read of it; empty when the step builds upon the whole.
    #[serde(default)]
    pub selected: Vec<String>,
    /// What stood for it in the key.
    pub content: InputContent,
}

/// What stood for an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputContent {
    /// The key that identifies a result.
    Result(Digest),
    /// The digest of the selected files.
    Files(Digest),
}

/// The recipes of a store.
#[derive(Debug, Clone, Copy)]
pub struct Recipes<'store> {
    store: &'store Store,
}

impl<'store> Recipes<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Returns what `key` was made of, if that is still known.
    pub fn get(&self, key: &Digest) -> Result<Option<Recipe>> {
        durable::read_json_or_forget(&self.recipe_path(key))
    }

    /// Writes what `key` is made of.
    pub fn put(&self, key: &Digest, recipe: &Recipe) -> Result<()> {
        let path = self.recipe_path(key);
        make_folder_of(&path)?;
        durable::write_json_lazily(self.store.temporary()?, &path, recipe)
    }

    /// Returns the list of files whose digest is `selection`, as it was put.
    pub fn listing(&self, selection: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.listing_path(selection);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Returns whether there is a list of files for `selection`.
    pub fn has_listing(&self, selection: &Digest) -> bool {
        self.listing_path(selection).exists()
    }

    /// Writes the list of files whose digest is `selection`.
    pub fn put_listing(&self, selection: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.listing_path(selection);
        make_folder_of(&path)?;
        self.store.replace_file(&path, bytes)
    }

    /// Removes recipes and lists that were written longer ago than `age` and that no record
    /// needs any more. Returns how many bytes their files had.
    pub fn remove_unused(&self, age: Duration) -> Result<u64> {
        let mut freed = 0;
        let mut used = std::collections::HashSet::new();
        for path in self.files("recipes")? {
            let has_record = self.record_path(&path).exists();
            if !has_record && is_older(&path, age) {
                freed += remove(&path)?;
                continue;
            }
            let recipe: Option<Recipe> = durable::read_json_or_forget(&path)?;
            let inputs = recipe.into_iter().flat_map(|recipe| recipe.inputs);
            used.extend(inputs.filter_map(|input| match input.content {
                InputContent::Files(digest) => Some(digest.hex().to_owned()),
                InputContent::Result(_) => None,
            }));
        }
        for path in self.files("listings")? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !used.contains(name.as_ref()) && is_older(&path, age) {
                freed += remove(&path)?;
            }
        }
        Ok(freed)
    }

    fn files(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in list_files(&self.store.path(folder))? {
            files.extend(list_files(&folder)?);
        }
        Ok(files)
    }

    fn record_path(&self, recipe: &Path) -> PathBuf {
        let below = recipe.strip_prefix(self.store.path("recipes"));
        self.store.path("records").join(below.unwrap_or(recipe))
    }

    fn recipe_path(&self, key: &Digest) -> PathBuf {
        split(self.store.path("recipes"), key)
    }

    fn listing_path(&self, selection: &Digest) -> PathBuf {
        split(self.store.path("listings"), selection)
    }
}

fn split(folder: PathBuf, digest: &Digest) -> PathBuf {
    let (start, _) = digest.hex().split_at(2);
    folder.join(start).join(digest.hex())
}

fn make_folder_of(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => store::make_directories_to(folder),
        None => Ok(()),
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    // A file of the future, by a clock that was wrong, is not old.
    modified.is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|passed| passed > age)
    })
}

fn remove(path: &Path) -> Result<u64> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    session::remove_tree(path)?;
    Ok(size)
}
