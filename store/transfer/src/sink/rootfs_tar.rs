//! The root file systems of images as one plain archive.

use std::io;
use std::path::{Path, PathBuf};

use kiln_disk::{LayerId, Store};
use kiln_layer::archive::{Device, Entry, EntryKind, LayerWriter};
use kiln_layer::tree::{FileKind, Tree};

use super::destination::Output;
use super::walk::{Visit, walk};
use super::{Destination, image_archive};
use crate::error::Result;

/// The root file system of one platform, and where it lies in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFs {
    /// The directory that it lies in; empty for none.
    pub directory: PathBuf,
    /// Its layers, bottom first.
    pub stack: Vec<LayerId>,
}

/// Writes `roots` as an archive to `destination`.
///
/// With `clamp_mtime_seconds` nothing in it is newer than that.
pub fn write(
    store: &Store,
    roots: &[RootFs],
    clamp_mtime_seconds: Option<i64>,
    destination: Destination<'_>,
) -> Result<()> {
    let target = match &destination {
        Destination::File(path) => path.to_path_buf(),
        Destination::Stream(_) => "standard output".into(),
    };
    destination.write(|output| {
        let mut archive = LayerWriter::new(output);
        for root in roots {
            let tree = open_stack(store, &root.stack)?;
            let part = Part {
                tree: &tree,
                directory: &root.directory,
                clamp_mtime_seconds,
                target: &target,
            };
            part.write(&mut archive)?;
        }
        let finished = archive.finish().map(drop);
        finished.map_err(|source| image_archive::failed(&target, source))
    })
}

/// Opens the union of `stack`; the union of no layers is an empty directory.
pub(super) fn open_stack(store: &Store, stack: &[LayerId]) -> Result<Tree> {
    let paths: Vec<_> = stack
        .iter()
        .flat_map(|layer| store.layers().directories(layer))
        .collect();
    Ok(Tree::open(&paths, store.whiteout_format())?)
}

/// One root file system on its way into the archive.
struct Part<'a> {
    tree: &'a Tree,
    directory: &'a Path,
    clamp_mtime_seconds: Option<i64>,
    /// The archive, for messages.
    target: &'a Path,
}

impl Part<'_> {
    fn write(&self, archive: &mut LayerWriter<&mut Output<'_>>) -> Result<()> {
        walk(self.tree, |visit| {
            let is_root = visit.path.as_os_str().is_empty();
            if is_root && self.directory.as_os_str().is_empty() {
                return Ok(());
            }
            let entry = self.entry(&visit)?;
            let appended = match entry.kind {
                EntryKind::Regular { .. } => {
                    archive.append(&entry, self.tree.open_exactly(&visit.path)?.0)
                }
                _ => archive.append(&entry, io::empty()),
            };
            appended.map_err(|source| image_archive::failed(self.target, source))
        })
    }

    fn entry(&self, visit: &Visit) -> Result<Entry> {
        let metadata = &visit.metadata;
        let modified = metadata.modified.seconds;
        let kind = self.kind(visit)?;
        let xattrs = match kind {
            EntryKind::HardLink { .. } => Vec::new(),
            _ => self.tree.xattrs(&visit.path)?,
        };
        let clamp = self.clamp_mtime_seconds;
        Ok(Entry {
            path: self.place(&visit.path),
            kind,
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: clamp.map_or(modified, |clamp| clamp.min(modified)),
            xattrs: xattrs
                .into_iter()
                .map(|xattr| (xattr.name, xattr.value))
                .collect(),
        })
    }

    fn kind(&self, visit: &Visit) -> Result<EntryKind> {
        if let Some(target) = &visit.same_as {
            return Ok(EntryKind::HardLink {
                target: self.place(target),
            });
        }
        let (major, minor) = visit.metadata.special_device;
        let device = Device { major, minor };
        Ok(match visit.metadata.kind {
            FileKind::Directory => EntryKind::Directory,
            FileKind::Symlink => EntryKind::Symlink {
                target: self.tree.read_link(&visit.path)?,
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

    /// Returns where the file lies in the archive.
    fn place(&self, path: &Path) -> PathBuf {
        match path.as_os_str().is_empty() {
            true => self.directory.to_owned(),
            false => self.directory.join(path),
        }
    }
}
