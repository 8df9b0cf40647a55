//! The root file system of an image as a directory of this machine.

use std::io;
use std::path::Path;

use kiln_disk::{LayerId, Store};
use kiln_layer::tree::{Attributes, FileKind, Tree};

use super::rootfs_tar::open_stack;
use super::walk::{Visit, walk};
use crate::error::Result;
use kiln_disk::At;

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// As in the image; needs root.
    Image,
    /// The user's who runs this, without set-user-ID and set-group-ID bits.
    Caller,
}

/// Writes the union of `stack`, bottom first, to `directory`, made if it is not there.
///
/// Files that are there already and have no counterpart stay. Nothing outside the directory
/// is reached, whatever links lie in it. With `clamp_mtime_seconds` nothing is newer.
pub fn write(
    store: &Store,
    stack: &[LayerId],
    ownership: Ownership,
    clamp_mtime_seconds: Option<i64>,
    directory: &Path,
) -> Result<()> {
    std::fs::create_dir_all(directory).at("make directory", directory)?;
    let source = open_stack(store, stack)?;
    let target = Tree::open_for_write(&[], directory, store.whiteout_format())?;
    let mut copy = Copy {
        source: &source,
        target,
        ownership,
        clamp_mtime_seconds,
        directory,
    };
    walk(&source, |visit| copy.visit(&visit))?;
    Ok(copy.target.finish()?)
}

struct Copy<'a> {
    source: &'a Tree,
    target: Tree,
    ownership: Ownership,
    clamp_mtime_seconds: Option<i64>,
    directory: &'a Path,
}

impl Copy<'_> {
    fn visit(&mut self, visit: &Visit) -> Result<()> {
        let path = &visit.path;
        if path.as_os_str().is_empty() {
            // The directory is the caller's: it keeps its owner and mode.
            return Ok(());
        }
        if let Some(first) = &visit.same_as {
            return Ok(self.target.hard_link(path, first)?);
        }
        let attributes = self.attributes(visit)?;
        match visit.metadata.kind {
            FileKind::Directory => self.target.make_directory(path, &attributes)?,
            FileKind::Regular => self.copy_file(path, &attributes)?,
            FileKind::Symlink => {
                self.target
                    .symlink(path, self.source.read_link(path)?, &attributes)?;
            }
            kind => self
                .target
                .special(path, kind, visit.metadata.special_device, &attributes)?,
        }
        Ok(())
    }

    fn attributes(&self, visit: &Visit) -> Result<Attributes> {
        let mut attributes = visit.metadata.attributes();
        if let (Some(modified), Some(clamp)) = (&mut attributes.modified, self.clamp_mtime_seconds)
            && modified.seconds >= clamp
        {
            (modified.seconds, modified.nanoseconds) = (clamp, 0);
        }
        attributes.xattrs = self.source.xattrs(&visit.path)?;
        if self.ownership == Ownership::Caller {
            attributes.uid = rustix::process::geteuid().as_raw();
            attributes.gid = rustix::process::getegid().as_raw();
            attributes.mode &= 0o1777;
        }
        Ok(attributes)
    }

    fn copy_file(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        let (mut content, _) = self.source.open_exactly(path)?;
        let mut file = self.target.create_file(path, attributes)?;
        io::copy(&mut content, file.file()).at("write", &self.directory.join(path))?;
        Ok(file.finish()?)
    }
}
