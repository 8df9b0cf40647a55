//! The temporary files of one open store, and who may remove them.
//!
//! `active/<session>/` has a `lock` file that its owner holds for life. Everything that
//! is not finished lies in there: layers being written, files before their rename.
//! Whoever can take the lock knows that the owner is dead and may remove it all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;

use crate::error::{At, Result};
use crate::lock::{self, Lock};
use crate::random;

const LOCK_NAME: &str = "lock";

/// A directory for unfinished things; removed with all of them when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    directory: PathBuf,
    /// What nobody needs any more and can be removed when there is time.
    discarded: Mutex<Vec<PathBuf>>,
    _lock: Lock,
}

impl Session {
    /// Makes a session below `active`.
    pub(crate) fn begin(active: &Path) -> Result<Self> {
        let birth_lock = File::open(active).at("open", active)?;
        let _birth = lock::wait(birth_lock, active, FlockOperation::LockShared)?;
        let directory = active.join(random::hexadecimal(8));
        make_directory(&directory)?;
        let held = hold(&directory).inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&directory);
        })?;
        Ok(Self {
            directory,
            discarded: Mutex::default(),
            _lock: held,
        })
    }

    /// Has `path`, which lies in the session, removed when there is time, at its end at the latest.
    pub(crate) fn discard(&self, path: PathBuf) {
        self.discarded().push(path);
    }

    /// Removes what was discarded.
    pub(crate) fn remove_discarded(&self) {
        let discarded = std::mem::take(&mut *self.discarded());
        for path in discarded {
            // What resists is removed with the session, or by the next one who opens the store.
            let _ = remove_tree(&path);
        }
    }

    fn discarded(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.discarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a path in the session that nothing has yet.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        self.directory.join(random::hexadecimal(8))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        remove_session(&self.directory);
    }
}

fn hold(directory: &Path) -> Result<Lock> {
    let path = directory.join(LOCK_NAME);
    let file = lock::open_lock_file(&path)?;
    lock::write_process_id(&file);
    lock::wait(file, &path, FlockOperation::LockExclusive)
}

/// Removes a session whose lock the caller holds, the lock last.
///
/// What cannot be removed now is left to the next one who opens the store.
fn remove_session(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_name() != LOCK_NAME)
    {
        let _ = remove_tree(&entry.path());
    }
    let _ = std::fs::remove_file(directory.join(LOCK_NAME));
    let _ = std::fs::remove_dir(directory);
}

/// Removes the sessions below `active` whose owners are dead.
///
/// Cheap when there are none. Skipped while another process is giving birth to a session:
/// the next open will do it.
pub(crate) fn remove_dead_sessions(active: &Path) -> Result<()> {
    let mut directories = Vec::new();
    for entry in std::fs::read_dir(active).at("read directory", active)? {
        directories.push(entry.at("read directory", active)?.path());
    }
    if directories.is_empty() {
        return Ok(());
    }
    for (directory, _lock) in take_dead_sessions(active, directories)? {
        remove_session(&directory);
    }
    Ok(())
}

/// Returns those of `directories` whose locks were free, with the locks.
///
/// Under the birth lock only the locks are taken: removing may last, births must not wait.
fn take_dead_sessions(
    active: &Path,
    directories: Vec<PathBuf>,
) -> Result<Vec<(PathBuf, Option<Lock>)>> {
    let file = File::open(active).at("open", active)?;
    let birth = lock::attempt(file, active, FlockOperation::NonBlockingLockExclusive)?;
    let Ok(_birth) = birth else {
        return Ok(Vec::new());
    };
    let mut dead = Vec::new();
    for directory in directories {
        match take_dead_session(&directory)? {
            Life::Dead(lock) => dead.push((directory, lock)),
            Life::Alive => {}
        }
    }
    Ok(dead)
}

enum Life {
    Alive,
    /// The lock is now ours; there is none if the owner died before it made one, or while
    /// it removed the last of its files.
    Dead(Option<Lock>),
}

fn take_dead_session(directory: &Path) -> Result<Life> {
    let path = directory.join(LOCK_NAME);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Life::Dead(None)),
        Err(error) => return Err(error).at("open lock file", &path),
    };
    let lock = lock::attempt(file, &path, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock.map_or(Life::Alive, |lock| Life::Dead(Some(lock))))
}

/// Makes the directory `path`, for its owner only.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .at("make directory", path)
}

/// Removes a file or a whole directory tree; absent is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// A file in a session that is removed unless it is renamed to its final place.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) file: File,
    path: PathBuf,
}

impl Temporary {
    /// Makes an empty file at `path`, for its owner only.
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path).at("create", &path)?;
        Ok(Self { file, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the content durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().at("write to disk", &self.path)
    }

    /// Gives the file its final name, in place of what had it.
    pub(crate) fn rename(self, target: &Path) -> Result<()> {
        // After the rename there is nothing left for `drop` to remove: the name is unique.
        std::fs::rename(&self.path, target).at("rename to", target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
