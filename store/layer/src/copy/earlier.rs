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

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use crate::scan::{Content, ContentHash};
use crate::tree::{Attributes, FileKind, Metadata, Tree, WhiteoutFormat};

use super::writing::{CHUNK_BYTES, SMALL_FILE_BYTES, read_some};

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
}

/// The files of an earlier layer that were not used yet.
pub(super) struct Unused<'a> {
    earlier: &'a Earlier,
    used: HashSet<u64>,
    buffer: Vec<u8>,
}

/// A file that is the one that is to be made.
pub(super) struct Same<'a> {
    pub tree: &'a Tree,
    inode: u64,
    file: File,
}

impl<'a> Unused<'a> {
    pub fn of(earlier: &'a Earlier) -> Self {
        Unused {
            earlier,
            used: HashSet::new(),
            buffer: Vec::new(),
        }
    }

    /// Returns the file at `path` if a new one with `attributes`, a size of `size` bytes and the
    /// digest `content` would be the same.
    pub fn find(
        &mut self,
        path: &Path,
        attributes: &Attributes,
        size: u64,
        content: &Content,
    ) -> Option<Same<'a>> {
        let tree = &self.earlier.tree;
        let file = tree.open_seen(path).ok()?;
        let there = tree.opened(&file, path).ok()?;
        if !is_same(&there, attributes, size) || self.used.contains(&there.inode) {
            return None;
        }
        let xattrs = Tree::xattrs_of(&file, path).ok()?;
        let mut hash = ContentHash::new(&xattrs);
        self.buffer.clear();
        self.buffer.reserve(CHUNK_BYTES);
        let mut read = 0;
        loop {
            if read > SMALL_FILE_BYTES {
                self.buffer.clear();
            }
            let start = self.buffer.len();
            match read_some(&file, &mut self.buffer).ok()? {
                0 => break,
                more => read += more as u64,
            }
            hash.update(&self.buffer[start..]);
            if read >= size {
                break;
            }
        }
        let inode = there.inode;
        let is_it = read == size && hash.finish() == *content;
        is_it.then_some(Same { tree, inode, file })
    }

    /// Takes note that `same` has a name in the new layer. Returns what it holds if that is little.
    pub fn use_up(&mut self, same: &Same<'_>, size: u64) -> Option<&[u8]> {
        self.used.insert(same.inode);
        (size <= SMALL_FILE_BYTES).then_some(self.buffer.as_slice())
    }
}

impl Same<'_> {
    /// Returns the open file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Whether the file `there` is one that a new one with `attributes` and `size` would be.
fn is_same(there: &Metadata, attributes: &Attributes, size: u64) -> bool {
    let Attributes {
        mode,
        uid,
        gid,
        modified,
        // They are part of the digest of the content.
        xattrs: _,
    } = attributes;
    there.kind == FileKind::Regular
        && there.size == size
        && (there.mode, there.uid, there.gid) == (*mode, *uid, *gid)
        && Some(there.modified) == *modified
}
