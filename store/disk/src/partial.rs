//! What has come of a blob so far, kept for whoever goes on with it.
//!
//! `partial/<algorithm>-<hex>` holds the bytes of a blob that is being fetched, in any order,
//! checked by nobody. Whoever fetches holds the lock of the file; killed or cut off, it leaves
//! the file to the next who wants the blob. Only bytes before the first hole count then: what
//! is missing in between has no blocks. Should they be wrong nevertheless, the digest tells.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_oci::{Algorithm, Digest};
use rustix::fs::{FlockOperation, SeekFrom};
use sha2::{Digest as _, Sha256};

use crate::blobs::digest_of;
use crate::error::{At, Error, Result};
use crate::lock::{self, Lock};
use crate::usage::DiskUsage;
use crate::{Blobs, Store, durable, lease};

const FOLDER: &str = "partial";
/// What lies before the first hole is taken in whole units of this: the last block before
/// it may have been written in part.
const UNIT_BYTES: u64 = 64 << 10;
const BUFFER_BYTES: usize = 256 << 10;

/// A blob on its way in, that others see only once it is complete.
///
/// Dropped without [`PartialBlob::commit`] it stays for the next who asks for it.
#[derive(Debug)]
pub struct PartialBlob {
    store: Store,
    digest: Digest,
    path: PathBuf,
    file: Arc<File>,
    _lock: Lock,
    found_bytes: u64,
    progress: Mutex<Progress>,
}

/// What has come.
#[derive(Debug, Default)]
struct Progress {
    hasher: Sha256,
    /// Everything before this is there and hashed.
    contiguous_bytes: u64,
    /// Where what lies beyond begins and ends.
    beyond: BTreeMap<u64, u64>,
}

impl Blobs<'_> {
    /// Returns what has come of the blob `digest` so far, to go on with it.
    ///
    /// Waits while another has it; the lock of the work on a blob should be held before.
    pub fn partial(&self, digest: &Digest) -> Result<PartialBlob> {
        let store = self.store().clone();
        let name = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
        let path = store.path(FOLDER).join(name);
        let (file, lock) = open(&path)?;
        let found_bytes = usable_bytes(&file, &path)?;
        let partial = PartialBlob {
            store,
            digest: digest.clone(),
            path,
            file: Arc::new(file),
            _lock: lock,
            found_bytes,
            progress: Mutex::default(),
        };
        partial.take_in(&mut partial.progress(), found_bytes)?;
        Ok(partial)
    }
}

/// Opens the file and takes its lock; somebody may remove it until then.
fn open(path: &Path) -> Result<(File, Lock)> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path).at("open", path)?;
        let second = file.try_clone().at("open", path)?;
        let lock = lock::wait(second, path, FlockOperation::LockExclusive)?;
        if lock::is_named(lock.file(), path)? {
            return Ok((file, lock));
        }
    }
}

/// Returns how many bytes were written from the beginning on.
fn usable_bytes(file: &File, path: &Path) -> Result<u64> {
    let length = file.metadata().at("examine", path)?.len();
    let hole = match rustix::fs::seek(file, SeekFrom::Hole(0)) {
        Ok(hole) => hole,
        // The file is empty, or the file system does not tell.
        Err(_) => length,
    };
    Ok(match hole < length {
        true => hole.saturating_sub(UNIT_BYTES) / UNIT_BYTES * UNIT_BYTES,
        false => length,
    })
}

impl PartialBlob {
    /// Returns the file, to read what has come.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Returns the path of the file, to name in errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many bytes from the beginning on were there when this was opened.
    pub fn found_bytes(&self) -> u64 {
        self.found_bytes
    }

    /// Returns how many bytes from the beginning on are there.
    pub fn contiguous_bytes(&self) -> u64 {
        self.progress().contiguous_bytes
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `bytes` at `position`; returns how many bytes from the beginning on are there.
    ///
    /// Several threads may write, each where no other does.
    pub fn write_at(&self, position: u64, bytes: &[u8]) -> Result<u64> {
        self.file
            .write_all_at(bytes, position)
            .at("write", &self.path)?;
        let end = position + bytes.len() as u64;
        let mut progress = self.progress();
        if position != progress.contiguous_bytes {
            progress.note_beyond(position, end);
            return Ok(progress.contiguous_bytes);
        }
        progress.hasher.update(bytes);
        progress.contiguous_bytes = end;
        loop {
            let reached = progress.contiguous_bytes;
            match progress.beyond.remove(&reached) {
                Some(end) => self.take_in(&mut progress, end)?,
                None => return Ok(reached),
            }
        }
    }

    /// Hashes what lies in the file up to `end`.
    fn take_in(&self, progress: &mut Progress, end: u64) -> Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES.min(usize::try_from(end).unwrap_or(BUFFER_BYTES))];
        while progress.contiguous_bytes < end {
            let left = end - progress.contiguous_bytes;
            let length = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let part = &mut buffer[..length];
            self.file
                .read_exact_at(part, progress.contiguous_bytes)
                .at("read", &self.path)?;
            progress.hasher.update(&*part);
            progress.contiguous_bytes += length as u64;
        }
        Ok(())
    }

    /// Gives the blob its name, durably. Nobody removes it while this store is open.
    ///
    /// Fails, and removes what has come, unless it has the digest and `size`.
    pub fn commit(self, size: u64) -> Result<()> {
        if let Err(error) = self.check(size) {
            self.discard();
            return Err(error);
        }
        self.file.set_len(size).at("shorten", &self.path)?;
        let read_only = Permissions::from_mode(0o444);
        self.file
            .set_permissions(read_only)
            .at("protect", &self.path)?;
        self.file.sync_all().at("write to disk", &self.path)?;
        let target = self.store.blobs().path(&self.digest);
        // The same open file as that of the lock, which becomes the lease.
        let file = self.file.try_clone().at("open", &self.path)?;
        self.store.leases().take_file(file, &target)?;
        std::fs::rename(&self.path, &target).at("rename to", &target)?;
        match target.parent() {
            Some(directory) => durable::sync_directory(directory),
            None => Ok(()),
        }
    }

    fn check(&self, size: u64) -> Result<()> {
        let progress = self.progress();
        if progress.contiguous_bytes != size {
            return Err(Error::WrongSize {
                expected_digest: self.digest.clone(),
                expected: size,
                found: progress.contiguous_bytes,
            });
        }
        let found = match self.digest.algorithm() {
            Algorithm::Sha256 => Digest::from_sha256(progress.hasher.clone().finalize().into()),
            // Rare enough to read the file once more.
            Algorithm::Sha512 => {
                let mut file = File::open(&self.path).at("open", &self.path)?;
                digest_of(&mut file, Algorithm::Sha512).at("read", &self.path)?
            }
        };
        match found == self.digest {
            true => Ok(()),
            false => Err(Error::WrongDigest {
                expected: self.digest.clone(),
                found,
            }),
        }
    }

    /// Removes what has come: it is of no use.
    pub fn discard(self) {
        // What cannot be removed now is found to be wrong the next time, too.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Progress {
    /// Remembers that the bytes from `start` to `end` are there.
    fn note_beyond(&mut self, start: u64, end: u64) {
        let before = self.beyond.range(..=start).next_back();
        match before.map(|(from, to)| (*from, *to)) {
            Some((from, to)) if to == start => self.beyond.insert(from, end),
            _ => self.beyond.insert(start, end),
        };
    }
}

impl Drop for PartialBlob {
    fn drop(&mut self) {
        let is_named = lock::is_named(&self.file, &self.path);
        if self.contiguous_bytes() == 0 && is_named.is_ok_and(|is_named| is_named) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes what nobody has gone on with for `unused_for`; returns the room it took.
pub(crate) fn remove_abandoned(store: &Store, unused_for: Duration) -> Result<DiskUsage> {
    let mut freed = DiskUsage::default();
    let folder = store.path(FOLDER);
    for entry in std::fs::read_dir(&folder).at("read directory", &folder)? {
        let path = entry.at("read directory", &folder)?.path();
        let modified = std::fs::symlink_metadata(&path).and_then(|file| file.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok());
        if age.is_none_or(|age| age < unused_for) {
            continue;
        }
        if let lease::Claim::Free(_lock) = lease::claim(&path)? {
            freed += crate::usage::disk_usage(&path)?;
            std::fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(freed)
}
