//! The files below a selected directory that exclusions leave.

use std::path::{Path, PathBuf};

use super::{CopyError, Result};
use crate::pattern::{IgnorePatterns, ParentMatch};
use crate::tree::{Metadata, Tree};

/// A directory that is walked.
pub(super) struct Walked {
    /// Path in the source.
    pub path: PathBuf,
    /// Path that exclusions are compared with.
    pub relative: PathBuf,
    matched: ParentMatch,
}

/// A file in a walked directory.
pub(super) struct Child {
    pub name: std::ffi::OsString,
    pub path: PathBuf,
    pub metadata: Metadata,
}

impl Walked {
    /// Begins a walk at `path`, where exclusions see `relative`.
    pub fn start(exclude: &IgnorePatterns, path: &Path, relative: &Path) -> Self {
        let mut matched = exclude.root();
        let mut above: Vec<_> = relative.ancestors().collect();
        above.reverse();
        for directory in above.iter().filter(|path| !path.as_os_str().is_empty()) {
            matched = exclude.enter(directory, &matched);
        }
        Self {
            path: path.to_path_buf(),
            relative: relative.to_path_buf(),
            matched,
        }
    }

    /// Goes on in the directory `child`.
    pub fn enter(&self, exclude: &IgnorePatterns, child: &Child) -> Self {
        let relative = self.relative.join(&child.name);
        let matched = exclude.enter(&relative, &self.matched);
        Self {
            path: child.path.clone(),
            relative,
            matched,
        }
    }

    /// Returns the files in the directory that are not excluded, sorted by name. An excluded
    /// directory counts if something in it is included again.
    pub fn children(&self, source: &Tree, exclude: &IgnorePatterns) -> Result<Vec<Child>> {
        let entries = source.read_dir(&self.path).map_err(CopyError::Source)?;
        let mut children = Vec::with_capacity(entries.len());
        for entry in entries {
            let child = Child {
                path: self.path.join(&entry.name),
                name: entry.name,
                metadata: entry.metadata,
            };
            if exclude.is_empty() || self.shows(source, exclude, &child)? {
                children.push(child);
            }
        }
        Ok(children)
    }

    fn shows(&self, source: &Tree, exclude: &IgnorePatterns, child: &Child) -> Result<bool> {
        let relative = self.relative.join(&child.name);
        if !exclude.excludes(&relative, &self.matched) {
            return Ok(true);
        }
        if !child.metadata.is_directory() || exclude.can_prune(&relative) {
            return Ok(false);
        }
        let inside = self.enter(exclude, child).children(source, exclude)?;
        Ok(!inside.is_empty())
    }
}
