//! A directory of this machine, walked once for all who read it, and what is known of its files.
//!
//! A build context is read by many steps. A [`Scan`] lists each directory once, on several
//! threads, and keeps what it saw: digests and copies are made of the same files. A file whose
//! status is that of the [`Index`] of an earlier build is not read. One that changes between
//! being listed and being copied is an error, never a wrong result.
//!
//! A file's status says that it is unchanged only if it was left alone for a while before it was
//! looked at, within which another change could have got the same time: as in git's index, one
//! that changed later than that is *racily clean*. Such files are looked at again after that
//! while, so that nothing that is digested is racy; where a clock was set back, and a file's
//! time lies in the future, it is read anew by every build.

mod index;
mod read;
mod scanned;
mod stamp;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::copy::{CopyError, ResolvedSource, Selection, resolve_sources};
use crate::tree::{Metadata, Tree, TreeError};

pub use index::{DamagedIndex, Index};
pub(crate) use read::{Content, ContentHash, attributes_content, content};
pub(crate) use scanned::{Scanned, ScannedFile};
pub(crate) use stamp::Stamp;

type Result<T, E = CopyError> = std::result::Result<T, E>;

/// A directory of this machine as it was when it was looked at.
#[derive(Debug)]
pub struct Scan {
    tree: Tree,
    index: Index,
    state: Mutex<State>,
    /// Whether something was read that the index does not know.
    learned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Directories that were walked with all that is in them; none lies in another.
    roots: Vec<walk::Root>,
    /// Files that were read without their directory being walked.
    singles: HashMap<PathBuf, (Stamp, Content)>,
    /// What the index knows of directories of which single files are asked for.
    indexed: HashMap<PathBuf, HashMap<Vec<u8>, (Stamp, Content)>>,
    /// Files that selections named, as they were seen first.
    named: HashMap<PathBuf, Stamp>,
    /// What selections named.
    sources: HashMap<(Vec<String>, bool), Arc<Vec<ResolvedSource>>>,
}

impl State {
    /// Returns the directory at `path`, if it was walked.
    fn directory(&self, path: &Path) -> Option<Arc<Scanned>> {
        let below = |(root, scanned): &walk::Root| scanned.descend(path.strip_prefix(root).ok()?);
        self.roots.iter().find_map(below)
    }

    /// Whether the directory at `path` was walked, or would have been if it were there.
    fn covers(&self, path: &Path) -> bool {
        self.roots.iter().any(|(root, _)| path.starts_with(root))
    }
}

impl Scan {
    /// Returns a scan of `tree`, a directory of this machine, of which nothing was read yet.
    pub fn new(tree: Tree, index: Index) -> Self {
        Scan {
            tree,
            index,
            state: Mutex::default(),
            learned: AtomicBool::new(false),
        }
    }

    /// Returns the directory, to be looked at anew.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether more was seen than the index of before knows.
    pub fn has_learned(&self) -> bool {
        self.learned.load(Ordering::Relaxed)
    }

    /// Writes an index of what was seen, from the start of `out` on.
    pub fn write_index(&self, out: &mut (impl Write + Seek)) -> io::Result<()> {
        let state = self.lock();
        self.index.write_updated(&state.roots, &state.singles, out)
    }

    /// Returns what `selection` names: the same whenever it is asked for.
    pub fn resolve(&self, selection: &Selection) -> Result<Arc<Vec<ResolvedSource>>> {
        let key = (selection.sources.clone(), selection.parents);
        if let Some(known) = self.lock().sources.get(&key) {
            return Ok(known.clone());
        }
        let mut resolved = resolve_sources(&self.tree, selection)?;
        if stamp::wait_until_settled(resolved.iter().map(|file| file.metadata.changed)) {
            resolved = resolve_sources(&self.tree, selection)?;
        }
        let mut state = self.lock();
        for file in resolved.iter().filter(|file| !file.metadata.is_directory()) {
            let stamp = Stamp::of(&file.metadata);
            if *state.named.entry(file.path.clone()).or_insert(stamp) != stamp {
                return Err(changed(&file.path));
            }
        }
        // Who came first decides what it is.
        Ok(state
            .sources
            .entry(key)
            .or_insert_with(|| Arc::new(resolved))
            .clone())
    }

    /// Returns the directory at `path`, which is free of links, after it was walked with all
    /// that is in it.
    pub(crate) fn directory(&self, path: &Path) -> Result<Arc<Scanned>> {
        let mut state = self.lock();
        if !state.covers(path) {
            let found = walk::walk(&self.tree, path, &state.roots, &self.index)?;
            state.roots.retain(|(root, _)| !root.starts_with(path));
            state.roots.push((path.to_path_buf(), found));
        }
        let gone = || CopyError::Source(TreeError::NotFound(path.to_path_buf()));
        state.directory(path).ok_or_else(gone)
    }

    /// Returns the digest of what the file at `path` holds. `metadata` is what was seen of it.
    pub(crate) fn content(&self, path: &Path, metadata: &Metadata) -> Result<Content> {
        let name = path.file_name().unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new(""));
        let stamp = Stamp::of(metadata);
        let directory = self.lock().directory(above);
        let file = directory
            .as_ref()
            .and_then(|above| above.find(name.as_encoded_bytes()));
        let file = file.filter(|file| file.stamp() == stamp);
        let known = match &file {
            Some(file) => file.content().copied(),
            None => self.known_single(above, path, &stamp),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let content = read::content(&self.tree, path, metadata, &mut read::buffer())?;
        self.note_learned(&stamp);
        match &file {
            Some(file) => file.learn(content),
            None => drop(
                self.lock()
                    .singles
                    .insert(path.to_path_buf(), (stamp, content)),
            ),
        }
        Ok(content)
    }

    /// Returns what is known of a file whose directory, `above`, was not walked.
    fn known_single(&self, above: &Path, path: &Path, stamp: &Stamp) -> Option<Content> {
        use std::os::unix::ffi::OsStrExt;
        let name = path.file_name().unwrap_or_default().as_bytes();
        let mut state = self.lock();
        if !state.indexed.contains_key(above) {
            let indexed = self.index.known(above);
            state.indexed.insert(above.to_path_buf(), indexed);
        }
        let indexed = state.indexed.get(above).and_then(|known| known.get(name));
        let known = [state.singles.get(path), indexed];
        let known = known.into_iter().flatten().find(|(seen, _)| seen == stamp);
        known.map(|(_, content)| *content)
    }

    /// Reads those of `files` whose content is not known, several at once.
    pub(crate) fn read_all(&self, files: &[(PathBuf, Arc<Scanned>, usize)]) -> Result<()> {
        read::read_all(&self.tree, files, &|file| self.note_learned(&file.stamp()))
    }

    fn note_learned(&self, stamp: &Stamp) {
        if stamp.is_settled() {
            self.learned.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a file that `seen` was seen of is still the same.
pub(crate) fn is_unchanged(seen: &Metadata, now: &Metadata) -> bool {
    Stamp::of(seen) == Stamp::of(now) && seen.kind == now.kind
}

/// Returns an error if the file at `path` is no longer the one that `seen` is of.
pub(crate) fn check_unchanged(path: &Path, seen: &Metadata, now: &Metadata) -> Result<()> {
    match is_unchanged(seen, now) {
        true => Ok(()),
        false => Err(changed(path)),
    }
}

/// Returns the error for a file that is no longer what it was when it was looked at.
pub(crate) fn changed(path: &Path) -> CopyError {
    CopyError::Changed {
        path: path.to_path_buf(),
    }
}
