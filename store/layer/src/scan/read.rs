//! Reading files: what they hold, as a digest.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{Result, Scanned, ScannedFile, check_unchanged};
use crate::copy::CopyError;
use crate::processors;
use crate::tree::{FileKind, Metadata, Tree, Xattr};

const READ_BUFFER_BYTES: usize = 128 * 1024;
/// Files that one more thread is worth.
const FILES_PER_THREAD: usize = 16;

/// The BLAKE3 digest of a file's extended attributes and of what it holds: content, target of
/// a link, number of a device.
///
/// Nobody else needs this digest, and every byte of a context is hashed for it before its copy is
/// hashed for the layer's archive: so it is one that costs a fraction of SHA-256.
pub(crate) type Content = [u8; 32];

/// Makes the digest of a file.
pub(crate) struct ContentHash(blake3::Hasher);

impl ContentHash {
    /// Returns one that has seen the extended attributes.
    pub fn new(xattrs: &[Xattr]) -> Self {
        let mut hash = ContentHash(blake3::Hasher::new());
        for xattr in xattrs {
            hash.update_framed(xattr.name.as_bytes());
            hash.update_framed(&xattr.value);
        }
        hash.update(&u64::MAX.to_le_bytes());
        hash
    }

    fn update_framed(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    /// Takes the next bytes of what the file holds.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest.
    pub fn finish(self) -> Content {
        self.0.finalize().into()
    }

    /// Takes all that `file` holds.
    pub fn update_from(&mut self, file: &mut File, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match file.read(buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

pub(super) fn buffer() -> Vec<u8> {
    vec![0; READ_BUFFER_BYTES]
}

/// Reads the entries that are named by their directory and their place in it, several at once,
/// and calls `learned` for each.
pub(super) fn read_all(
    tree: &Tree,
    files: &[(PathBuf, Arc<Scanned>, usize)],
    learned: &(dyn Fn(ScannedFile<'_>) + Sync),
) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || {
        let mut buffer = buffer();
        while let Some((path, directory, place)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let unread = directory.get(*place);
            let Some(file) = unread.filter(|file| file.content().is_none()) else {
                continue;
            };
            match content(tree, path, &file.metadata(), &mut buffer) {
                Ok(content) => {
                    file.learn(content);
                    learned(file);
                }
                Err(error) => {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    next.store(files.len(), Ordering::Relaxed);
                }
            }
        }
    };
    let threads = processors::count().min(files.len().div_ceil(FILES_PER_THREAD));
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

/// Returns the digest of what the file at `path` holds.
///
/// Errors: it is not, or not any more, the file that `metadata` was seen of.
pub(crate) fn content(
    tree: &Tree,
    path: &Path,
    metadata: &Metadata,
    buffer: &mut [u8],
) -> Result<Content> {
    let mut hash;
    match metadata.kind {
        FileKind::Regular => {
            let (mut file, _) = tree.open_exactly(path).map_err(CopyError::Source)?;
            let xattrs = Tree::xattrs_of(&file, path).map_err(CopyError::Source)?;
            hash = ContentHash::new(&xattrs);
            let read = hash.update_from(&mut file, buffer);
            read.map_err(|source| CopyError::Content {
                path: path.to_path_buf(),
                source,
            })?;
            let now = crate::tree::metadata_of(file.as_fd(), path).map_err(CopyError::Source)?;
            check_unchanged(path, metadata, &now)?;
        }
        kind => {
            let xattrs = tree.xattrs(path).map_err(CopyError::Source)?;
            hash = ContentHash::new(&xattrs);
            if kind == FileKind::Symlink {
                let target = tree.read_link(path).map_err(CopyError::Source)?;
                hash.update(target.as_os_str().as_bytes());
            }
            hash.update(&metadata.special_device.0.to_le_bytes());
            hash.update(&metadata.special_device.1.to_le_bytes());
        }
    }
    Ok(hash.finish())
}

/// Returns the digest of extended attributes alone, as directories have it; zeros for none.
pub(crate) fn attributes_content(xattrs: &[Xattr]) -> Content {
    if xattrs.is_empty() {
        return [0; 32];
    }
    ContentHash::new(xattrs).finish()
}
