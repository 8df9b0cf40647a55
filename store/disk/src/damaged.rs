//! What was found to be damaged, out of everybody's way.
//!
//! `damaged/` holds blobs, layers and files whose content is not what it was when it came
//! in: nobody finds them under their names any more, so whoever needs them gets them anew, and
//! people may still look at them. They go with a collection, after a day or with `--all`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{At, Result};
use crate::usage::DiskUsage;
use crate::{Store, lease, random, session, usage};

/// The folder in the root.
pub(crate) const FOLDER: &str = "damaged";

impl Store {
    /// Moves what is at `path` out of the way by one rename; returns where it lies now, or
    /// nothing if it was gone already.
    pub(crate) fn set_aside(&self, path: &Path) -> Result<Option<PathBuf>> {
        let folder = self.path(FOLDER);
        crate::store::make_directories_to(&folder)?;
        let within = path.strip_prefix(self.root()).unwrap_or(path);
        let name = within.to_string_lossy().replace('/', "-");
        let target = folder.join(format!("{name}.{}", random::hexadecimal(4)));
        match std::fs::rename(path, &target) {
            Ok(()) => {
                lease::touch_path(&target);
                Ok(Some(target))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("set aside", path),
        }
    }
}

/// Removes what has been out of the way for `unused_for`; returns the room it took.
pub(crate) fn remove_old(store: &Store, unused_for: Duration) -> Result<DiskUsage> {
    let mut freed = DiskUsage::default();
    for path in crate::images::list_files(&store.path(FOLDER))? {
        let metadata = std::fs::symlink_metadata(&path);
        let changed = metadata.and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age >= unused_for) {
            freed += usage::disk_usage(&path)?;
            session::remove_tree(&path)?;
        }
    }
    Ok(freed)
}
