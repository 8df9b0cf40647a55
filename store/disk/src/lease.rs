//! Leases: what a living process uses, nobody removes.
//!
//! A lease is a shared `flock` on the thing itself: the folder of a layer, a blob, the logs
//! of a build. The kernel frees it when the process is gone, however it went. Who collects
//! garbage takes the exclusive lock before it removes anything.
//!
//! Whoever takes a lease also sets the thing's modification time, to the nanosecond. That is
//! its time of last use, and it tells a collector that the thing was used since it looked,
//! even if the lease is over again: for that it is compared, never ordered.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FlockOperation, OFlags, Timespec, Timestamps, UTIME_OMIT};

use crate::error::{At, Result};
use crate::lock::{self, Lock};

/// The leases of one open store, held until it is closed.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<PathBuf, Lock>>,
}

impl Leases {
    /// Takes a lease of `path`; `false` if nothing is there.
    pub(crate) fn take(&self, path: &Path) -> Result<bool> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = held.get(path)
            && lock::is_named(lock.file(), path)?
        {
            return Ok(true);
        }
        let lock = take(path)?;
        let is_there = lock.is_some();
        held.extend(lock.map(|lock| (path.to_owned(), lock)));
        Ok(is_there)
    }

    /// Takes a lease of the open `file`, which is about to be named `path`.
    pub(crate) fn take_file(&self, file: File, path: &Path) -> Result<()> {
        let lock = lock::wait(file, path, FlockOperation::LockShared)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(path.to_owned(), lock);
        Ok(())
    }
}

fn take(path: &Path) -> Result<Option<Lock>> {
    loop {
        let Some(file) = open(path)? else {
            return Ok(None);
        };
        let lock = lock::wait(file, path, FlockOperation::LockShared)?;
        // A collector may have taken it away while we waited for its lock.
        if lock::is_named(lock.file(), path)? {
            touch(lock.file());
            return Ok(Some(lock));
        }
    }
}

/// What a collector finds when it wants to remove something.
pub(crate) enum Claim {
    /// Nobody uses it, and nobody will as long as the lock is held.
    Free(Lock),
    /// A living process uses it.
    InUse,
    /// It is not there.
    Absent,
}

/// Claims `path` for its removal.
pub(crate) fn claim(path: &Path) -> Result<Claim> {
    let Some(file) = open(path)? else {
        return Ok(Claim::Absent);
    };
    match lock::attempt(file, path, FlockOperation::NonBlockingLockExclusive)? {
        Err(_) => Ok(Claim::InUse),
        Ok(lock) if lock::is_named(lock.file(), path)? => Ok(Claim::Free(lock)),
        Ok(_) => Ok(Claim::Absent),
    }
}

fn open(path: &Path) -> Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("open", path),
    }
}

/// When something was used, and a mark that every use changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of `path`; `None` if it is not there.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(Self {
                inode: metadata.ino(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("examine", path),
        }
    }

    /// Returns when it was last used, in seconds since 1970.
    pub(crate) fn used_seconds(&self) -> i64 {
        self.modified.0
    }
}

/// Says that `file` is used now. A store that cannot be written needs no such news.
fn touch(file: &File) {
    let _ = rustix::fs::futimens(file, &used_now());
}

/// Says that what is at `path` is used now.
pub(crate) fn touch_path(path: &Path) {
    let here = rustix::fs::CWD;
    let _ = rustix::fs::utimensat(here, path, &used_now(), AtFlags::SYMLINK_NOFOLLOW);
}

/// Not the kernel's own "now", which may stand still for milliseconds.
fn used_now() -> Timestamps {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: since.subsec_nanos().into(),
        },
    }
}
