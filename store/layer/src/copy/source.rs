//! Where files are copied from: a tree as it is, or a scan of one as it was.

use std::path::Path;
use std::sync::Arc;

use super::sources::{ResolvedSource, resolve_sources};
use super::{CopyError, Result, Selection};
use crate::scan::{self, Scan, Scanned, ScannedFile};
use crate::tree::{Metadata, Tree};

/// Where files are copied from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A tree that nobody changes: the layers of a store.
    Tree(&'a Tree),
    /// A directory of this machine, which may change at any time, as it was when it was
    /// scanned. A file that is no longer what it was then is an error.
    Scan(&'a Scan),
}

impl<'a> From<&'a Tree> for Source<'a> {
    fn from(tree: &'a Tree) -> Self {
        Source::Tree(tree)
    }
}

impl<'a> From<&'a Scan> for Source<'a> {
    fn from(scan: &'a Scan) -> Self {
        Source::Scan(scan)
    }
}

impl<'a> Source<'a> {
    /// Returns the tree behind it.
    pub fn tree(self) -> &'a Tree {
        match self {
            Source::Tree(tree) => tree,
            Source::Scan(scan) => scan.tree(),
        }
    }

    /// Returns what `selection` names.
    pub fn resolve(self, selection: &Selection) -> Result<Arc<Vec<ResolvedSource>>> {
        match self {
            Source::Tree(tree) => resolve_sources(tree, selection).map(Arc::new),
            Source::Scan(scan) => scan.resolve(selection),
        }
    }

    /// Returns what the directory at `path` shows. `file` is what the directory above shows of
    /// it, where that is known.
    pub(super) fn listing(
        self,
        path: &Path,
        file: Option<ScannedFile<'_>>,
    ) -> Result<Arc<Scanned>> {
        match self {
            Source::Tree(tree) => {
                let xattrs = tree.xattrs(path).map_err(CopyError::Source)?;
                let entries = tree.read_dir(path).map_err(CopyError::Source)?;
                Ok(Arc::new(Scanned::of(&entries, xattrs)))
            }
            Source::Scan(scan) => match file.and_then(|file| file.inside().cloned()) {
                Some(inside) => Ok(inside),
                None => scan.directory(path),
            },
        }
    }

    /// Checks that the file at `path` is what it was when `seen` was seen of it.
    pub fn check_unchanged(self, path: &Path, seen: &Metadata) -> Result<()> {
        let Source::Scan(scan) = self else {
            return Ok(());
        };
        let node = scan.tree().lookup(path, crate::tree::Follow::ParentsOnly);
        match node.map_err(CopyError::Source)? {
            Some(node) => scan::check_unchanged(path, seen, &node.metadata),
            None => Err(scan::changed(path)),
        }
    }
}
