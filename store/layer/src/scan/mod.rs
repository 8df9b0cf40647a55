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
mod stamp;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::copy::{CopyError, ResolvedSource, Selection, resolve_sources};
use crate::tree::{Entry, Metadata, Tree, TreeError, Xattr};

pub use index::{DamagedIndex, Index};
pub(crate) use read::{Content, ContentHash, attributes_content, content};
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
    directories: HashMap<PathBuf, Arc<Scanned>>,
    /// Directories that were walked with all that is in them.
    roots: Vec<PathBuf>,
    /// Files that were read without their directory being walked.
    singles: HashMap<PathBuf, (Stamp, Content)>,
    /// What the index knows of directories of which single files are asked for.
    indexed: HashMap<PathBuf, HashMap<Vec<u8>, (Stamp, Content)>>,
    /// Files that selections named, as they were seen first.
    named: HashMap<PathBuf, Stamp>,
    /// What selections named.
    sources: HashMap<(Vec<String>, bool), Arc<Vec<ResolvedSource>>>,
}

/// A directory that was walked: what it shows, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    names: Vec<u8>,
    pub entries: Vec<ScannedEntry>,
    pub xattrs: Vec<Xattr>,
}

/// What a walked directory shows under one name.
#[derive(Clone, Debug)]
pub(crate) struct ScannedEntry {
    name: (u32, u32),
    pub metadata: Metadata,
    visibility: Visibility,
    /// The digest of its content, once it is known. Directories have none.
    pub content: OnceLock<Content>,
    /// What it shows, if it is a directory.
    pub inside: OnceLock<Arc<Scanned>>,
}

/// Whether something is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visibility {
    Shown,
    /// An ignored directory: seen if something in it is not ignored.
    ByContent,
}

impl Scanned {
    /// Returns what a directory shows that was listed by other means, of which no content is known.
    pub fn of(entries: &[Entry], xattrs: Vec<Xattr>) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let mut scanned = Scanned {
            xattrs,
            ..Scanned::default()
        };
        for entry in entries {
            let name = entry.name.as_bytes();
            let start = scanned.names.len() as u32;
            scanned.names.extend_from_slice(name);
            scanned.entries.push(ScannedEntry {
                name: (start, name.len() as u32),
                metadata: entry.metadata,
                visibility: Visibility::Shown,
                content: OnceLock::new(),
                inside: OnceLock::new(),
            });
        }
        scanned
    }

    /// Returns the same with only those entries that `shows` lets through.
    pub fn filtered(&self, mut shows: impl FnMut(&ScannedEntry) -> Result<bool>) -> Result<Self> {
        let mut entries = Vec::new();
        for entry in &self.entries {
            if shows(entry)? {
                entries.push(entry.clone());
            }
        }
        Ok(Scanned {
            names: self.names.clone(),
            entries,
            xattrs: self.xattrs.clone(),
        })
    }

    /// Returns the name of `entry`, which is one of this directory's.
    pub fn name(&self, entry: &ScannedEntry) -> &[u8] {
        let (start, length) = entry.name;
        &self.names[start as usize..(start + length) as usize]
    }

    /// Returns what it shows under `name`.
    pub fn find(&self, name: &[u8]) -> Option<&ScannedEntry> {
        let compare = |entry: &ScannedEntry| self.name(entry).cmp(name);
        let found = self.entries.binary_search_by(compare).ok()?;
        self.entries.get(found)
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

    /// Returns the bytes of an index of what was seen, if it knows more than that of before.
    pub fn updated_index(&self) -> Option<Vec<u8>> {
        let state = self.lock();
        let is_new = self.learned.load(Ordering::Relaxed);
        is_new.then(|| self.index.updated(&state.directories, &state.singles))
    }

    /// Returns what `selection` names: the same whenever it is asked for.
    pub fn resolve(&self, selection: &Selection) -> Result<Arc<Vec<ResolvedSource>>> {
        let key = (selection.sources.clone(), selection.parents);
        if let Some(known) = self.lock().sources.get(&key) {
            return Ok(known.clone());
        }
        let mut resolved = resolve_sources(&self.tree, selection)?;
        if stamp::wait_until_settled(resolved.iter().map(|file| &file.metadata)) {
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
        if !state.roots.iter().any(|root| path.starts_with(root)) {
            let found = walk::walk(&self.tree, path, &state.directories, &self.index)?;
            link(&found, &state.directories);
            state.directories.extend(found);
            state.roots.retain(|root| !root.starts_with(path));
            state.roots.push(path.to_path_buf());
        }
        let gone = || CopyError::Source(TreeError::NotFound(path.to_path_buf()));
        state.directories.get(path).cloned().ok_or_else(gone)
    }

    /// Returns the digest of what the file at `path` holds. `metadata` is what was seen of it.
    pub(crate) fn content(&self, path: &Path, metadata: &Metadata) -> Result<Content> {
        use std::os::unix::ffi::OsStrExt;
        let name = path.file_name().unwrap_or_default().as_bytes();
        let above = path.parent().unwrap_or(Path::new(""));
        let stamp = Stamp::of(metadata);
        let known = {
            let mut state = self.lock();
            if !state.indexed.contains_key(above) {
                let indexed = self.index.known(above);
                state.indexed.insert(above.to_path_buf(), indexed);
            }
            let directory = state.directories.get(above);
            let entry = directory.and_then(|directory| directory.find(name));
            let single = state.singles.get(path).filter(|(seen, _)| *seen == stamp);
            let known = entry.and_then(|entry| entry.content.get());
            let indexed = state.indexed.get(above).and_then(|known| known.get(name));
            let indexed = indexed.filter(|(seen, _)| *seen == stamp);
            let content = |(_, content): &(Stamp, Content)| *content;
            (known.copied())
                .or(single.map(content))
                .or(indexed.map(content))
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let content = read::content(&self.tree, path, metadata, &mut read::buffer())?;
        self.note_learned(&stamp);
        let single = (stamp, content);
        self.lock().singles.insert(path.to_path_buf(), single);
        Ok(content)
    }

    /// Reads those of `files` whose content is not known, several at once.
    pub(crate) fn read_all(&self, files: &[(PathBuf, Arc<Scanned>, usize)]) -> Result<()> {
        let learn = |entry: &ScannedEntry| self.note_learned(&Stamp::of(&entry.metadata));
        read::read_all(&self.tree, files, &learn)
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

/// Lets each of the directories that were `found` know those in it.
fn link(found: &HashMap<PathBuf, Arc<Scanned>>, known: &HashMap<PathBuf, Arc<Scanned>>) {
    use std::os::unix::ffi::OsStrExt;
    for (path, scanned) in found {
        for entry in scanned
            .entries
            .iter()
            .filter(|entry| entry.metadata.is_directory())
        {
            let inside = path.join(std::ffi::OsStr::from_bytes(scanned.name(entry)));
            if let Some(inside) = found.get(&inside).or_else(|| known.get(&inside)) {
                let _ = entry.inside.set(inside.clone());
            }
        }
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
