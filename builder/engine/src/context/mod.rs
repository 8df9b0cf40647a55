//! The stat index of a build context: files that did not change are not read again.
//!
//! A file is known by device, inode, size and both times of change. As in git's index, a
//! file whose times are not older than the index itself may have changed right after it was
//! read, within the clock's resolution: it is read again (*racily clean*).

mod format;

use kiln_disk::Store;
use kiln_layer::copy;
use kiln_layer::tree::{Metadata, Timestamp};
use kiln_oci::Digest;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How long before its reading a file must have been left alone to be trusted: more than the
/// coarsest clock of a file system in use.
const SETTLED_NANOSECONDS: i128 = 20_000_000;

/// What is known of the files of one directory tree.
pub(crate) struct ContextIndex {
    name: String,
    /// When this build began to look, in nanoseconds since 1970.
    started: i128,
    known: HashMap<PathBuf, Known>,
    learned: Mutex<HashMap<PathBuf, Known>>,
}

#[derive(Clone, PartialEq)]
struct Known {
    stamp: Stamp,
    digest: Digest,
}

#[derive(Clone, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let time = |time: Timestamp| (time.seconds, time.nanoseconds);
        Stamp {
            device: metadata.device,
            inode: metadata.inode,
            size: metadata.size,
            modified: time(metadata.modified),
            changed: time(metadata.changed),
        }
    }

    /// Whether the file had been left alone for a while at `now`, nanoseconds since 1970.
    fn is_settled(&self, now: i128) -> bool {
        let nanoseconds = |(seconds, nanoseconds): (i64, u32)| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        let latest = nanoseconds(self.modified).max(nanoseconds(self.changed));
        latest + SETTLED_NANOSECONDS < now
    }
}

impl ContextIndex {
    /// Returns what the store knows of the directory at `root`. A damaged index is none.
    pub fn load(store: &Store, root: &Path) -> Self {
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        let name = root.to_string_lossy().into_owned();
        let known = store
            .index_path(&name)
            .ok()
            .and_then(|path| std::fs::read(path).ok())
            .and_then(|bytes| format::decode(&bytes))
            .unwrap_or_default();
        let started = jiff::Timestamp::now().as_nanosecond();
        ContextIndex {
            name,
            started,
            known,
            learned: Mutex::default(),
        }
    }

    /// Writes what was learned. An index that cannot be written only costs time later.
    pub fn save(&self, store: &Store) {
        let learned = std::mem::take(&mut *self.learned());
        if learned.is_empty() {
            return;
        }
        let mut entries: HashMap<&PathBuf, &Known> = self.known.iter().collect();
        entries.extend(learned.iter());
        let bytes = format::encode(entries.into_iter());
        if let Ok(path) = store.index_path(&self.name) {
            let _ = store.replace_file(&path, &bytes);
        }
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Known>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl copy::ContentIndex for ContextIndex {
    fn get(&self, path: &Path, metadata: &Metadata) -> Option<Digest> {
        let known = self.known.get(path)?;
        (known.stamp == Stamp::of(metadata)).then(|| known.digest.clone())
    }

    fn put(&self, path: &Path, metadata: &Metadata, digest: &Digest) {
        let stamp = Stamp::of(metadata);
        if stamp.is_settled(self.started) {
            let known = Known {
                stamp,
                digest: digest.clone(),
            };
            self.learned().insert(path.to_path_buf(), known);
        }
    }
}
