//! An earlier layer of the same store whose files may be had by another name.
//!
//! A changed `COPY . .` makes a layer most of whose files an earlier layer has already. Such a
//! file becomes a further name of the one that is there: no inode, no blocks, nothing to write.
//!
//! What must hold, so that nobody can tell the layer from one whose files were copied:
//! - Nothing ever writes to a file of a committed layer; overlayfs copies it up first. Nothing
//!   changes the file in the new layer either: a copy replaces files, it does not open them.
//! - The file there is what the copy would be: its size, mode, owner, time and extended attributes
//!   are compared, and its content is read and must have the digest that the cache key was made
//!   of. So it does not matter what happened to the earlier layer.
//! - It has the same path in both layers, and neither has another name for it. So no two paths of
//!   a stack ever lead to one file that were not hard links in the source: a step that looks for
//!   hard links finds none.
//!
//! What can be seen is the number of links of a file, and its time of last status change.
//!
//! Of many files most of which are the same not even names are made: [`super::upon`].

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::scan::{Content, ContentHash};
use crate::tree::handles::OpenDirectory;
use crate::tree::{Attributes, FileKind, Metadata, Tree, WhiteoutFormat, xattrs_of};

use super::output::{CHUNK_BYTES, read_some};

/// Files up to this size are read as a whole; larger ones in parts, or copied within the kernel.
pub(super) const SMALL_FILE_BYTES: u64 = 64 * 1024;

/// A committed layer that a copy of the same sources to the same place made before.
///
/// It must have no hard links, and stay while it is used.
#[derive(Debug)]
pub struct Earlier {
    tree: Tree,
}

impl Earlier {
    /// Returns the layer with the directory `layer`; none if it cannot be read.
    pub fn open(layer: &Path, format: WhiteoutFormat) -> Option<Self> {
        let tree = Tree::open(&[layer.to_path_buf()], format).ok()?;
        Some(Earlier { tree })
    }

    /// Returns the directory at `path`, if the layer has it.
    pub(super) fn directory(&self, path: &Path) -> Option<OpenDirectory> {
        self.tree.open_directory_seen(path).ok()?
    }
}

/// The files of an earlier layer that were not used yet.
pub(super) struct Unused<'a> {
    earlier: &'a Earlier,
    used: Mutex<HashSet<u64>>,
}

/// What a file is that is to be made.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub attributes: &'a Attributes,
    pub size: u64,
    pub content: &'a Content,
}

/// A file that is the one that is to be made.
pub(super) struct Same {
    inode: u64,
    /// It, open.
    pub file: File,
    /// Whether it has extended attributes.
    pub has_xattrs: bool,
}

/// Returns the file `name` in `directory` if a new one would be the same. What it holds is
/// appended to `bytes` if that is little; where it is not the same, anything may be.
pub(super) fn find(
    directory: &OpenDirectory,
    name: &OsStr,
    wanted: Wanted<'_>,
    bytes: &mut Vec<u8>,
) -> Option<Same> {
    let file = directory.open_seen(name).ok()?;
    let there = directory.opened(&file).ok()?;
    if !is_same(&there, wanted) {
        return None;
    }
    let xattrs = xattrs_of(file.as_fd()).ok()?;
    let hash = ContentHash::new(&xattrs);
    let found = match wanted.size <= SMALL_FILE_BYTES {
        true => read_whole(&file, wanted.size, hash, bytes)?,
        false => read_in_parts(&file, wanted.size, hash)?,
    };
    (found == *wanted.content).then_some(Same {
        inode: there.inode,
        file,
        has_xattrs: !xattrs.is_empty(),
    })
}

impl<'a> Unused<'a> {
    pub fn of(earlier: &'a Earlier) -> Self {
        Unused {
            earlier,
            used: Mutex::default(),
        }
    }

    /// Returns the directory at `path`, if the layer has it.
    pub fn directory(&self, path: &Path) -> Option<OpenDirectory> {
        self.earlier.directory(path)
    }

    /// As [`find`], of files that were not used yet.
    pub fn find(
        &self,
        directory: &OpenDirectory,
        name: &OsStr,
        wanted: Wanted<'_>,
        bytes: &mut Vec<u8>,
    ) -> Option<Same> {
        let found = find(directory, name, wanted, bytes)?;
        (!self.used().contains(&found.inode)).then_some(found)
    }

    /// Takes note that `same` has a name in the new layer.
    pub fn use_up(&self, same: &Same) {
        self.used().insert(same.inode);
    }

    fn used(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the file `there` is one that is wanted, as far as is seen without reading it.
fn is_same(there: &Metadata, wanted: Wanted<'_>) -> bool {
    let Attributes {
        mode,
        uid,
        gid,
        modified,
        // They are part of the digest of the content.
        xattrs: _,
    } = wanted.attributes;
    there.kind == FileKind::Regular
        && there.size == wanted.size
        && (there.mode, there.uid, there.gid) == (*mode, *uid, *gid)
        && Some(there.modified) == *modified
}

/// Appends what a file of `size` bytes holds to `bytes`; returns its digest.
fn read_whole(
    file: &File,
    size: u64,
    mut hash: ContentHash,
    bytes: &mut Vec<u8>,
) -> Option<Content> {
    let (start, size) = (bytes.len(), size as usize);
    bytes.reserve(size);
    while bytes.len() < start + size {
        if read_some(file, bytes).ok()? == 0 {
            return None;
        }
    }
    hash.update(&bytes[start..]);
    (bytes.len() == start + size).then(|| hash.finish())
}

/// Returns the digest of what a file of `size` bytes holds.
fn read_in_parts(file: &File, size: u64, mut hash: ContentHash) -> Option<Content> {
    let mut part = Vec::with_capacity(CHUNK_BYTES);
    let mut left = size;
    while left > 0 {
        part.clear();
        match read_some(file, &mut part).ok()? as u64 {
            0 => return None,
            read => left = left.checked_sub(read)?,
        }
        hash.update(&part);
    }
    Some(hash.finish())
}
