//! Every file of a stack of layers, once, in an order in which it can be made again.

use std::collections::HashMap;
use std::path::PathBuf;

use kiln_layer::tree::{FileKind, Follow, Metadata, Tree};

use crate::error::Result;

/// A file of the tree.
#[derive(Debug)]
pub(super) struct Visit {
    /// Its path, relative to the root; empty for the root itself.
    pub(super) path: PathBuf,
    /// What is known of it.
    pub(super) metadata: Metadata,
    /// The path of the same file that was visited first, if it has several names.
    pub(super) same_as: Option<PathBuf>,
}

/// Calls `visit` for the root and everything below: a directory before what is in it, names
/// sorted by their bytes, sockets left out.
pub(super) fn walk(tree: &Tree, mut visit: impl FnMut(Visit) -> Result<()>) -> Result<()> {
    let mut first_names = HashMap::new();
    let mut pending = Vec::new();
    if let Some(root) = tree.lookup("", Follow::ParentsOnly)? {
        pending.push((root.path, root.metadata));
    }
    // A stack: the last one pushed comes next, so the entries are pushed backwards.
    while let Some((path, metadata)) = pending.pop() {
        if metadata.is_directory() {
            for entry in tree.read_dir(&path)?.into_iter().rev() {
                if entry.metadata.kind != FileKind::Socket {
                    pending.push((path.join(&entry.name), entry.metadata));
                }
            }
        }
        let same_as = first_name(&mut first_names, &path, &metadata);
        visit(Visit {
            path,
            metadata,
            same_as,
        })?;
    }
    Ok(())
}

/// Returns the first name of a file with several; remembers this one if it is the first.
fn first_name(
    first_names: &mut HashMap<(u64, u64), PathBuf>,
    path: &std::path::Path,
    metadata: &Metadata,
) -> Option<PathBuf> {
    if metadata.is_directory() || metadata.links < 2 {
        return None;
    }
    let inode = (metadata.device, metadata.inode);
    let known = first_names.get(&inode).cloned();
    if known.is_none() {
        first_names.insert(inode, path.to_owned());
    }
    known
}
