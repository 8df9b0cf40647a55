//! The root file system of an image as one plain archive.

use std::io::{self, Write};
use std::path::Path;

use kiln_disk::{LayerId, Store, whiteout_format};
use kiln_layer::archive::{Device, Entry, EntryKind, LayerWriter};
use kiln_layer::tree::{FileKind, Tree};

use super::walk::{Visit, walk};
use super::{Destination, image_archive};
use crate::error::Result;

/// Writes the union of `stack`, bottom first, as an archive to `destination`.
///
/// With `clamp_mtime_seconds` nothing in it is newer than that.
pub fn write(
    store: &Store,
    stack: &[LayerId],
    clamp_mtime_seconds: Option<i64>,
    destination: Destination<'_>,
) -> Result<()> {
    let tree = open_stack(store, stack)?;
    let target = match &destination {
        Destination::File(path) => path.to_path_buf(),
        Destination::Stream(_) => "standard output".into(),
    };
    destination.write(|output| write_tree(&tree, clamp_mtime_seconds, &target, output))
}

/// Opens the union of `stack`; the union of no layers is an empty directory.
pub(super) fn open_stack(store: &Store, stack: &[LayerId]) -> Result<Tree> {
    let paths: Vec<_> = stack
        .iter()
        .map(|layer| store.layers().diff_path(layer))
        .collect();
    Ok(Tree::open(&paths, whiteout_format())?)
}

fn write_tree(
    tree: &Tree,
    clamp_mtime_seconds: Option<i64>,
    target: &Path,
    output: &mut dyn Write,
) -> Result<()> {
    let mut archive = LayerWriter::new(output);
    walk(tree, |visit| {
        if visit.path.as_os_str().is_empty() {
            return Ok(());
        }
        let entry = entry(tree, &visit, clamp_mtime_seconds)?;
        let appended = match entry.kind {
            EntryKind::Regular { .. } => archive.append(&entry, tree.open_exactly(&visit.path)?.0),
            _ => archive.append(&entry, io::empty()),
        };
        appended.map_err(|source| image_archive::failed(target, source))
    })?;
    archive
        .finish()
        .map(drop)
        .map_err(|source| image_archive::failed(target, source))
}

fn entry(tree: &Tree, visit: &Visit, clamp_mtime_seconds: Option<i64>) -> Result<Entry> {
    let metadata = &visit.metadata;
    let modified = metadata.modified.seconds;
    let kind = kind(tree, visit)?;
    let xattrs = match kind {
        EntryKind::HardLink { .. } => Vec::new(),
        _ => tree.xattrs(&visit.path)?,
    };
    Ok(Entry {
        path: visit.path.clone(),
        kind,
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: clamp_mtime_seconds.map_or(modified, |clamp| clamp.min(modified)),
        xattrs: xattrs
            .into_iter()
            .map(|xattr| (xattr.name, xattr.value))
            .collect(),
    })
}

fn kind(tree: &Tree, visit: &Visit) -> Result<EntryKind> {
    if let Some(target) = &visit.same_as {
        return Ok(EntryKind::HardLink {
            target: target.clone(),
        });
    }
    let (major, minor) = visit.metadata.special_device;
    let device = Device { major, minor };
    Ok(match visit.metadata.kind {
        FileKind::Directory => EntryKind::Directory,
        FileKind::Symlink => EntryKind::Symlink {
            target: tree.read_link(&visit.path)?,
        },
        FileKind::Fifo => EntryKind::Fifo,
        FileKind::CharacterDevice => EntryKind::CharacterDevice(device),
        FileKind::BlockDevice => EntryKind::BlockDevice(device),
        // Sockets are not walked to.
        FileKind::Regular | FileKind::Socket => EntryKind::Regular {
            size: visit.metadata.size,
        },
    })
}
