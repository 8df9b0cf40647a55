//! Full logs of steps, kept per build.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::error::{At, Result};
use crate::images::list_files;
use crate::{Store, store};

/// The logs of a store.
#[derive(Debug, Clone, Copy)]
pub struct Logs<'store> {
    store: &'store Store,
}

impl<'store> Logs<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Returns the path of the log of `step` of the build `build_id`.
    pub fn path(&self, build_id: &str, step: &str) -> PathBuf {
        self.folder(build_id)
            .join(format!("{}.log", file_name(step)))
    }

    /// Opens the log of `step` of the build `build_id` to append to.
    ///
    /// Nobody removes the build's logs while this store is open. A log is not worth waiting for the disk: after a power cut its end may be lost.
    pub fn writer(&self, build_id: &str, step: &str) -> Result<File> {
        let folder = self.folder(build_id);
        store::make_directories_to(&folder)?;
        self.store.leases().take(&folder)?;
        let path = self.path(build_id, step);
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .at("open log", &path)
    }

    /// Returns the logs of the build, in order of their names.
    pub fn list(&self, build_id: &str) -> Result<Vec<PathBuf>> {
        list_files(&self.folder(build_id))
    }

    fn folder(&self, build_id: &str) -> PathBuf {
        self.store.path("logs").join(file_name(build_id))
    }
}

/// Returns `name` with everything replaced that means something in a path.
pub(crate) fn file_name(name: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let plain = |character| if is_plain(character) { character } else { '_' };
    name.chars().take(100).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn log_name_never_leaves_its_folder() {
        assert_eq!(file_name("../a/b.c"), "___a_b_c");
        assert_eq!(file_name("12-run"), "12-run");
    }
}
