//! Every lock of the store, and the order in which they are taken.
//!
//! 1. the *root lock*, shared while a store is open (exclusive: alone in the store);
//! 2. *key locks*, one per unit of work that two processes should not both do;
//! 3. the *birth lock* of `active/`, shared while a session comes into being, exclusive
//!    while dead sessions are told from unborn ones;
//! 4. the *session lock*, exclusive for the life of a session;
//! 5. *leases*, shared on what is used, exclusive on what is removed;
//! 6. the *guards* of queues, for as long as a turn is drawn or given back.
//!
//! A process that waits for a *turn* at a cache mount may hold key locks; who has a turn
//! waits for nothing but turns that sort after it.
//!
//! All are `flock`s on descriptors that are closed on exec: the kernel frees them when the
//! owner dies, whatever the manner. Two descriptors of one process exclude each other too.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::{At, Error, Result};

/// A held lock; it is released when this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Returns the open file that is locked.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Opens (and makes) the lock file `path`.
pub(crate) fn open_lock_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path).at("open lock file", path)
}

/// Waits for `operation` on `file`.
pub(crate) fn wait(file: File, path: &Path, operation: FlockOperation) -> Result<Lock> {
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(Lock { file }),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error).at("lock", path),
        }
    }
}

/// Takes `operation` (a non-blocking one) on `file`; gives the file back if others hold it.
pub(crate) fn attempt(
    file: File,
    path: &Path,
    operation: FlockOperation,
) -> Result<std::result::Result<Lock, File>> {
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(Ok(Lock { file })),
        Err(Errno::WOULDBLOCK) => Ok(Err(file)),
        Err(error) => Err(error).at("lock", path),
    }
}

/// What a process that waits for a key lock is told, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The process that holds the lock, when it has said so yet.
    pub holder_process_id: Option<u32>,
    /// How long the waiter has been waiting.
    pub waited: Duration,
}

/// Whether a waiter goes on waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Go on.
    Wait,
    /// Return [`Error::GaveUpWaiting`].
    GiveUp,
}

/// A held key lock; released when dropped, and when the process dies.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _lock: Lock,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // While still held: a waiter that gets the lock of a removed file starts again.
        let _ = std::fs::remove_file(&self.path);
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// Takes the lock file `path`, asking `on_wait` for patience while another holds it.
pub(crate) fn lock_key(
    path: &Path,
    name: &str,
    on_wait: &mut dyn FnMut(Waiting) -> Patience,
) -> Result<KeyLock> {
    // The first pause is short, since most holders are about to finish.
    let mut pause = SHORTEST_PAUSE;
    let mut waited = Duration::ZERO;
    loop {
        let holder_process_id = match attempt_key(path)? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Vanished => continue,
            Attempt::Held(holder) => holder,
        };
        if on_wait(Waiting {
            holder_process_id,
            waited,
        }) == Patience::GiveUp
        {
            return Err(Error::GaveUpWaiting {
                name: name.to_owned(),
            });
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum Attempt {
    Taken(KeyLock),
    /// The file was removed by its last holder before we locked it.
    Vanished,
    Held(Option<u32>),
}

fn attempt_key(path: &Path) -> Result<Attempt> {
    let file = open_lock_file(path)?;
    let lock = match attempt(file, path, FlockOperation::NonBlockingLockExclusive)? {
        Ok(lock) => lock,
        Err(mut file) => return Ok(Attempt::Held(read_process_id(&mut file))),
    };
    if !is_named(lock.file(), path)? {
        return Ok(Attempt::Vanished);
    }
    write_process_id(lock.file());
    Ok(Attempt::Taken(KeyLock {
        path: path.to_owned(),
        _lock: lock,
    }))
}

/// Whether `path` still names the open `file`.
pub(crate) fn is_named(file: &File, path: &Path) -> Result<bool> {
    let held = file.metadata().at("examine", path)?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("examine", path),
    }
}

/// Writes this process' ID into its lock file, for those who wait.
///
/// A courtesy: a full disk must not keep anybody from a lock.
pub(crate) fn write_process_id(mut file: &File) {
    let text = std::process::id().to_string();
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()));
}

fn read_process_id(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
