//! The files below a selected directory that exclusions leave.

use std::path::{Path, PathBuf};

use super::{Result, Source};
use crate::pattern::{IgnorePatterns, ParentMatch};
use crate::scan::Content;
use crate::tree::Metadata;

/// A walk over all that is below a directory, in which a directory comes before its content.
///
/// It keeps its place in a list, not on the stack: a tree can be deeper than that.
pub(super) struct Walk<'a> {
    source: Source<'a>,
    exclude: &'a IgnorePatterns,
    open: Vec<Level>,
}

/// A directory of which a walk has seen a part.
struct Level {
    directory: Walked,
    /// Path below the directory where the walk began.
    below: PathBuf,
    children: std::vec::IntoIter<Child>,
}

/// A file that a walk has come to.
pub(super) struct Reached {
    pub path: PathBuf,
    /// Path below the directory where the walk began.
    pub below: PathBuf,
    pub metadata: Metadata,
    /// The digest of what it holds, where that is known.
    pub content: Option<Content>,
}

impl<'a> Walk<'a> {
    pub fn new(source: Source<'a>, exclude: &'a IgnorePatterns, start: Walked) -> Result<Self> {
        let mut walk = Self {
            source,
            exclude,
            open: Vec::new(),
        };
        walk.push(start, PathBuf::new())?;
        Ok(walk)
    }

    fn push(&mut self, directory: Walked, below: PathBuf) -> Result<()> {
        let children = directory.children(self.source, self.exclude)?.into_iter();
        self.open.push(Level {
            directory,
            below,
            children,
        });
        Ok(())
    }

    /// Returns the next file; a directory's content comes next.
    pub fn next(&mut self) -> Result<Option<Reached>> {
        while let Some(level) = self.open.last_mut() {
            let Some(child) = level.children.next() else {
                self.open.pop();
                continue;
            };
            let below = level.below.join(&child.name);
            if child.metadata.is_directory() {
                let inside = level.directory.enter(self.exclude, &child);
                self.push(inside, below.clone())?;
            }
            return Ok(Some(Reached {
                path: child.path,
                below,
                metadata: child.metadata,
                content: child.content,
            }));
        }
        Ok(None)
    }
}

/// A directory that is walked.
pub(super) struct Walked {
    /// Path in the source.
    pub path: PathBuf,
    /// Path that exclusions are compared with.
    pub relative: PathBuf,
    matched: ParentMatch,
}

/// A file in a walked directory.
struct Child {
    pub name: std::ffi::OsString,
    pub path: PathBuf,
    pub metadata: Metadata,
    pub content: Option<Content>,
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
    fn enter(&self, exclude: &IgnorePatterns, child: &Child) -> Self {
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
    fn children(&self, source: Source<'_>, exclude: &IgnorePatterns) -> Result<Vec<Child>> {
        let entries = source.entries(&self.path)?;
        let mut children = Vec::with_capacity(entries.len());
        for (entry, content) in entries {
            let child = Child {
                path: self.path.join(&entry.name),
                name: entry.name,
                metadata: entry.metadata,
                content,
            };
            if exclude.is_empty() || self.shows(source, exclude, &child)? {
                children.push(child);
            }
        }
        Ok(children)
    }

    fn shows(&self, source: Source<'_>, exclude: &IgnorePatterns, child: &Child) -> Result<bool> {
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
