//! Walking a directory of this machine on several threads.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Scope};

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::index::Index;
use super::{Result, Scanned, ScannedEntry, Stamp, Visibility, changed, stamp};
use crate::copy::CopyError;
use crate::pattern::ParentMatch;
use crate::processors;
use crate::tree::{Tree, TreeError, scanning};

/// Directories that must wait for one more thread to be worth it.
const WAITING_PER_THREAD: usize = 4;
/// More threads only wait for each other in the kernel.
const MOST_THREADS: usize = 8;
const DIRECTORY_BUFFER_BYTES: usize = 32 * 1024;

type Found = HashMap<PathBuf, Arc<Scanned>>;

/// Returns the directory at `start`, which is free of links, and all directories in it, apart
/// from those that are `known`, with what they show.
pub(super) fn walk(tree: &Tree, start: &Path, known: &Found, index: &Index) -> Result<Found> {
    let (handle, parent_match) = scanning::open(tree, start).map_err(CopyError::Source)?;
    let first = Job {
        path: start.to_path_buf(),
        place: Place::Open(handle),
        parent_match,
    };
    let walker = Walker {
        tree,
        known,
        index,
        state: Mutex::new(State {
            waiting: vec![first],
            ..State::default()
        }),
        changed: Condvar::new(),
    };
    let most = processors::count().min(MOST_THREADS);
    thread::scope(|scope| walker.work(scope, most));
    let state = walker
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = state.failure {
        return Err(failure);
    }
    let mut found = state.found;
    look_again_at_racy(tree, &mut found, index)?;
    if tree.ignore().is_some() {
        hide_empty(&mut found, known);
    }
    Ok(found
        .into_iter()
        .map(|(path, scanned)| (path, Arc::new(scanned)))
        .collect())
}

/// A directory to be read.
struct Job {
    path: PathBuf,
    place: Place,
    parent_match: ParentMatch,
}

enum Place {
    Open(OwnedFd),
    /// By the last component of its path in an open directory.
    In(Arc<OwnedFd>),
}

#[derive(Default)]
struct State {
    waiting: Vec<Job>,
    working: usize,
    /// Threads that wait: waking nobody takes a system call too.
    idle: usize,
    threads: usize,
    found: Vec<(PathBuf, Scanned)>,
    failure: Option<CopyError>,
}

struct Walker<'a> {
    tree: &'a Tree,
    known: &'a Found,
    index: &'a Index,
    state: Mutex<State>,
    changed: Condvar,
}

impl Walker<'_> {
    /// Reads directories until none waits. The latest found is read first, so that few of them
    /// are open at once.
    fn work<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>, most: usize) {
        let mut buffers = Buffers::default();
        let mut state = self.lock();
        loop {
            let Some(job) = state.waiting.pop().filter(|_| state.failure.is_none()) else {
                if state.working == 0 || state.failure.is_some() {
                    self.changed.notify_all();
                    return;
                }
                state.idle += 1;
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            state.working += 1;
            drop(state);
            let read = self.read(job, &mut buffers);
            state = self.lock();
            state.working -= 1;
            match read {
                Err(error) => {
                    state.failure.get_or_insert(error);
                }
                Ok((path, scanned, children)) => {
                    state.found.push((path, scanned));
                    state.waiting.extend(children);
                }
            }
            let is_worth_it = state.waiting.len() >= WAITING_PER_THREAD * (state.threads + 1);
            if is_worth_it && state.threads + 1 < most {
                state.threads += 1;
                scope.spawn(move || self.work(scope, most));
            }
            // The last one to work tells the others by finding nothing left.
            if state.idle > 0 && !state.waiting.is_empty() {
                self.changed.notify_all();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a directory shows, and the directories in it.
    fn read(&self, job: Job, buffers: &mut Buffers) -> Result<(PathBuf, Scanned, Vec<Job>)> {
        let failed = |action| TreeError::io(action, &job.path);
        let handle = match job.place {
            Place::Open(handle) => handle,
            Place::In(parent) => {
                let name = job.path.file_name().unwrap_or_default();
                match scanning::open_child(parent.as_fd(), name) {
                    Ok(handle) => handle,
                    // It was there a moment ago.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                        return Err(changed(&job.path));
                    }
                    Err(error) => {
                        return Err(CopyError::Source(failed("open the directory")(error)));
                    }
                }
            }
        };
        list(&handle, buffers)
            .map_err(|error| CopyError::Source(failed("read the directory")(error)))?;
        let mut scanned = Scanned {
            names: buffers.names.clone(),
            ..Scanned::default()
        };
        let see = Seeing {
            tree: self.tree,
            path: &job.path,
            handle: &handle,
            parent_match: &job.parent_match,
        };
        see.all(&buffers.listed, &mut scanned)
            .map_err(CopyError::Source)?;
        scanned.xattrs = scanning::xattrs(handle.as_fd(), &job.path).map_err(CopyError::Source)?;
        self.index.fill(&job.path, &scanned);
        let handle = Arc::new(handle);
        let children = self.children(&job.path, &scanned, &handle, &job.parent_match);
        Ok((job.path, scanned, children))
    }

    fn children(
        &self,
        path: &Path,
        scanned: &Scanned,
        handle: &Arc<OwnedFd>,
        parent_match: &ParentMatch,
    ) -> Vec<Job> {
        let directories = scanned
            .entries
            .iter()
            .filter(|entry| entry.metadata.is_directory());
        let paths = directories.map(|entry| path.join(OsStr::from_bytes(scanned.name(entry))));
        paths
            .filter(|path| !self.known.contains_key(path))
            .map(|path| Job {
                parent_match: match self.tree.ignore() {
                    Some(ignore) => ignore.enter(&path, parent_match),
                    None => ParentMatch::default(),
                },
                place: Place::In(handle.clone()),
                path,
            })
            .collect()
    }
}

/// A name in a directory: where it is among the names, and its kind.
type Listed = ((u32, u32), FileType);

/// What one thread uses for one directory after the other.
#[derive(Default)]
struct Buffers {
    names: Vec<u8>,
    /// Sorted by name.
    listed: Vec<Listed>,
}

/// Fills `buffers` with the names in a directory.
fn list(handle: &OwnedFd, buffers: &mut Buffers) -> Result<(), Errno> {
    let Buffers { names, listed } = buffers;
    names.clear();
    listed.clear();
    let mut buffer = [MaybeUninit::uninit(); DIRECTORY_BUFFER_BYTES];
    let mut entries = RawDir::new(handle, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let start = u32::try_from(names.len()).map_err(|_| Errno::OVERFLOW)?;
        let length = u32::try_from(name.len()).map_err(|_| Errno::OVERFLOW)?;
        names.extend_from_slice(name);
        listed.push(((start, length), entry.file_type()));
    }
    let name = |((start, length), _): &Listed| *start as usize..(*start + *length) as usize;
    listed.sort_unstable_by(|left, right| names[name(left)].cmp(&names[name(right)]));
    Ok(())
}

/// Looks at the files of one directory.
struct Seeing<'a> {
    tree: &'a Tree,
    path: &'a Path,
    handle: &'a OwnedFd,
    parent_match: &'a ParentMatch,
}

impl Seeing<'_> {
    fn all(&self, listed: &[Listed], scanned: &mut Scanned) -> Result<(), TreeError> {
        scanned.entries.reserve_exact(listed.len());
        // Of each file in turn: the patterns are asked for paths.
        let mut path = match self.tree.ignore() {
            Some(_) => self.path.to_path_buf(),
            None => PathBuf::new(),
        };
        for ((start, length), kind) in listed {
            let name = &scanned.names[*start as usize..(*start + *length) as usize];
            let name = OsStr::from_bytes(name);
            let Some(visibility) = self.visibility(&mut path, name, *kind) else {
                continue;
            };
            if let Some(metadata) = scanning::look(self.tree, self.handle.as_fd(), self.path, name)?
            {
                scanned.entries.push(ScannedEntry {
                    name: (*start, *length),
                    metadata,
                    visibility,
                    content: OnceLock::new(),
                    inside: OnceLock::new(),
                });
            }
        }
        Ok(())
    }

    /// The patterns often exclude most of a context: no system call for those.
    /// `path` is that of the directory.
    fn visibility(&self, path: &mut PathBuf, name: &OsStr, kind: FileType) -> Option<Visibility> {
        let Some(ignore) = self.tree.ignore() else {
            return Some(Visibility::Shown);
        };
        path.push(name);
        let is_file = kind != FileType::Directory && kind != FileType::Unknown;
        let visibility = match ignore.excludes(path, self.parent_match) {
            false => Some(Visibility::Shown),
            true => (!is_file && !ignore.can_prune(&path)).then_some(Visibility::ByContent),
        };
        path.pop();
        visibility
    }
}

/// Looks again at files that had changed just before: only then do their times tell whether
/// they change again.
fn look_again_at_racy(tree: &Tree, found: &mut [(PathBuf, Scanned)], index: &Index) -> Result<()> {
    let now = stamp::now();
    let is_racy = |entry: &ScannedEntry| stamp::is_racy(entry.metadata.changed, now);
    let racy = found
        .iter()
        .flat_map(|(_, scanned)| &scanned.entries)
        .filter(|entry| is_racy(entry));
    if !stamp::wait_until_settled(racy.map(|entry| &entry.metadata)) {
        return Ok(());
    }
    for (path, scanned) in found.iter_mut() {
        if !scanned.entries.iter().any(is_racy) {
            continue;
        }
        let (handle, _) = scanning::open(tree, path).map_err(CopyError::Source)?;
        for place in 0..scanned.entries.len() {
            if !is_racy(&scanned.entries[place]) {
                continue;
            }
            let name = OsStr::from_bytes(scanned.name(&scanned.entries[place])).to_os_string();
            let seen = scanning::look(tree, handle.as_fd(), path, &name);
            let seen = seen.map_err(CopyError::Source)?;
            let seen = seen.ok_or_else(|| changed(&path.join(&name)))?;
            let entry = &mut scanned.entries[place];
            if Stamp::of(&seen) != Stamp::of(&entry.metadata) {
                entry.content = OnceLock::new();
            }
            if seen.kind != entry.metadata.kind {
                return Err(changed(&path.join(&name)));
            }
            entry.metadata = seen;
        }
        index.fill(path, scanned);
    }
    Ok(())
}

/// Removes ignored directories in which nothing is to be seen, the deepest first.
fn hide_empty(found: &mut [(PathBuf, Scanned)], known: &Found) {
    let is_undecided = |entry: &ScannedEntry| entry.visibility == Visibility::ByContent;
    if !found
        .iter()
        .any(|(_, scanned)| scanned.entries.iter().any(is_undecided))
    {
        return;
    }
    // A directory sorts before what is in it.
    found.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
    let mut empty: HashMap<PathBuf, bool> = known
        .iter()
        .map(|(path, scanned)| (path.clone(), scanned.entries.is_empty()))
        .collect();
    for (path, scanned) in found {
        let names = std::mem::take(&mut scanned.names);
        scanned.entries.retain(|entry| {
            let (start, length) = entry.name;
            let name = OsStr::from_bytes(&names[start as usize..(start + length) as usize]);
            let is_empty = || empty.get(&path.join(name)).copied().unwrap_or(true);
            entry.visibility == Visibility::Shown || !entry.metadata.is_directory() || !is_empty()
        });
        scanned.names = names;
        empty.insert(path.clone(), scanned.entries.is_empty());
    }
}
