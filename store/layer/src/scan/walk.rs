//! Walking a directory of this machine on several threads.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::index::Index;
use super::scanned::{SharedTraits, Visibility};
use super::{Result, Scanned, changed, stamp};
use crate::copy::CopyError;
use crate::pattern::ParentMatch;
use crate::processors;
use crate::tree::{Tree, TreeError, scanning};

/// Directories that must wait for one more thread to be worth it.
const WAITING_PER_THREAD: usize = 4;
/// More threads only wait for each other in the kernel.
const MOST_THREADS: usize = 8;
const DIRECTORY_BUFFER_BYTES: usize = 32 * 1024;

/// A directory that was walked with all that is in it, and its path.
pub(super) type Root = (PathBuf, Arc<Scanned>);

/// Returns what the directory at `start`, which is free of links, shows, with all directories in
/// it. Those that are `known` are not read again.
pub(super) fn walk(
    tree: &Tree,
    start: &Path,
    known: &[Root],
    index: &Index,
) -> Result<Arc<Scanned>> {
    let (handle, parent_match) = scanning::open(tree, start).map_err(CopyError::Source)?;
    let first = Job {
        path: start.to_path_buf(),
        above: (0, 0),
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
    look_again_at_racy(tree, start, &mut found, index)?;
    Ok(assemble(found))
}

/// What was found: a directory comes after the one that it is in.
struct Found {
    /// Which of those found it is in, and which of the files there it is.
    above: (u32, u32),
    /// Nobody else has it until all is found.
    scanned: Arc<Scanned>,
}

/// Lets each directory know those in it, the deepest first; returns the first.
fn assemble(mut found: Vec<Found>) -> Arc<Scanned> {
    let mut latest = Arc::default();
    while let Some(Found { above, mut scanned }) = found.pop() {
        if let Some(scanned) = Arc::get_mut(&mut scanned) {
            scanned.settle();
        }
        latest = scanned;
        let parent = found.get_mut(above.0 as usize);
        if let Some(parent) = parent.and_then(|parent| Arc::get_mut(&mut parent.scanned)) {
            parent.enter(above.1, latest.clone());
        }
    }
    latest
}

/// Returns the path of one of those found below `start`.
fn path_of(found: &[Found], start: &Path, number: usize) -> PathBuf {
    let mut names = Vec::new();
    let mut at = number;
    while at > 0 {
        let (above, place) = found[at].above;
        at = above as usize;
        let file = found[at].scanned.get(place as usize);
        names.extend(file.map(|file| file.name()));
    }
    let mut path = start.to_path_buf();
    path.extend(names.into_iter().rev());
    path
}

/// A directory to be read.
struct Job {
    path: PathBuf,
    /// As in [`Found`].
    above: (u32, u32),
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
    found: Vec<Found>,
    failure: Option<CopyError>,
}

struct Walker<'a> {
    tree: &'a Tree,
    known: &'a [Root],
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
                Ok((found, mut children)) => {
                    let number = state.found.len() as u32;
                    children.iter_mut().for_each(|job| job.above.0 = number);
                    state.found.push(found);
                    state.waiting.append(&mut children);
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
    fn read(&self, job: Job, buffers: &mut Buffers) -> Result<(Found, Vec<Job>)> {
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
        let mut scanned = Scanned::with_names(buffers.names.clone(), buffers.listed.len());
        scanned.share_traits(&buffers.traits);
        let see = Seeing {
            tree: self.tree,
            path: &job.path,
            handle: &handle,
            parent_match: &job.parent_match,
        };
        see.all(buffers, &mut scanned).map_err(CopyError::Source)?;
        buffers.traits = scanned.traits().clone();
        let xattrs = scanning::xattrs(handle.as_fd(), &job.path);
        scanned.set_xattrs(xattrs.map_err(CopyError::Source)?);
        self.index.fill(&job.path, &scanned);
        let handle = Arc::new(handle);
        let children = self.children(&job.path, &mut scanned, &handle, &job.parent_match);
        let found = Found {
            above: job.above,
            scanned: Arc::new(scanned),
        };
        Ok((found, children))
    }

    /// Returns what must be done for the directories in one that was read.
    fn children(
        &self,
        path: &Path,
        scanned: &mut Scanned,
        handle: &Arc<OwnedFd>,
        parent_match: &ParentMatch,
    ) -> Vec<Job> {
        let (mut known, mut jobs) = (Vec::new(), Vec::new());
        for file in scanned.files().filter(|file| file.is_directory()) {
            let path = path.join(file.name());
            let place = file.place() as u32;
            if let Some((_, root)) = self.known.iter().find(|(root, _)| *root == path) {
                known.push((place, root.clone()));
                continue;
            }
            jobs.push(Job {
                parent_match: match self.tree.ignore() {
                    Some(ignore) => ignore.enter(&path, parent_match),
                    None => ParentMatch::default(),
                },
                // Which one is above is known once that is kept.
                above: (0, place),
                place: Place::In(handle.clone()),
                path,
            });
        }
        for (place, root) in known {
            scanned.enter(place, root);
        }
        jobs
    }
}

/// A name in a directory: where it is among the names, and its kind.
type Listed = ((u32, u16), FileType);

/// What one thread uses for one directory after the other.
#[derive(Default)]
struct Buffers {
    names: Vec<u8>,
    /// Sorted by name.
    listed: Vec<Listed>,
    /// What the files of the latest directory had.
    traits: SharedTraits,
}

/// Fills `buffers` with the names in a directory.
fn list(handle: &OwnedFd, buffers: &mut Buffers) -> Result<(), Errno> {
    let Buffers { names, listed, .. } = buffers;
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
        let length = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        names.extend_from_slice(name);
        listed.push(((start, length), entry.file_type()));
    }
    let name =
        |((start, length), _): &Listed| *start as usize..*start as usize + usize::from(*length);
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
    fn all(&self, buffers: &Buffers, scanned: &mut Scanned) -> Result<(), TreeError> {
        let Buffers { names, listed, .. } = buffers;
        // Of each file in turn: the patterns are asked for paths.
        let mut path = match self.tree.ignore() {
            Some(_) => self.path.to_path_buf(),
            None => PathBuf::new(),
        };
        for ((start, length), kind) in listed {
            let name = &names[*start as usize..*start as usize + usize::from(*length)];
            let name = OsStr::from_bytes(name);
            let Some(visibility) = self.visibility(&mut path, name, *kind) else {
                continue;
            };
            if let Some(metadata) = scanning::look(self.tree, self.handle.as_fd(), self.path, name)?
            {
                scanned.add((*start, *length), &metadata, visibility);
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
fn look_again_at_racy(tree: &Tree, start: &Path, found: &mut [Found], index: &Index) -> Result<()> {
    let now = stamp::now();
    let racy_in = |scanned: &Scanned| -> Vec<usize> {
        let files = scanned.files();
        let racy = files.filter(|file| stamp::is_racy(file.changed(), now));
        racy.map(|file| file.place()).collect()
    };
    let files = found.iter().flat_map(|found| found.scanned.files());
    if !stamp::wait_until_settled(files.map(|file| file.changed())) {
        return Ok(());
    }
    for number in 0..found.len() {
        let racy = racy_in(&found[number].scanned);
        if racy.is_empty() {
            continue;
        }
        let path = path_of(found, start, number);
        let (handle, _) = scanning::open(tree, &path).map_err(CopyError::Source)?;
        if let Some(scanned) = Arc::get_mut(&mut found[number].scanned) {
            for place in racy {
                look_again(tree, handle.as_fd(), &path, place, scanned)?;
            }
        }
        index.fill(&path, &found[number].scanned);
    }
    Ok(())
}

fn look_again(
    tree: &Tree,
    handle: BorrowedFd<'_>,
    path: &Path,
    place: usize,
    scanned: &mut Scanned,
) -> Result<()> {
    let Some(file) = scanned.get(place) else {
        return Ok(());
    };
    let gone = changed(&path.join(file.name()));
    let seen = scanning::look(tree, handle, path, file.name()).map_err(CopyError::Source)?;
    match seen.filter(|seen| seen.kind == file.kind()) {
        None => Err(gone),
        Some(seen) => {
            scanned.replace(place, &seen);
            Ok(())
        }
    }
}
