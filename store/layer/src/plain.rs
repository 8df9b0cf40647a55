//! A stack as one plain directory, for commands that run where nothing can be mounted.
//!
//! The directory is a copy of the stack; it shares nothing that can be written through, but
//! blocks where the file system has shared blocks. What a command changed is found by comparing
//! what is known of every file before and after: a file whose inode, times, owner and mode
//! are what they were was not touched. A copy that took a step's changes goes on as the copy
//! of the longer stack.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::archive::{UnpackError, UnpackOptions, unpack};
use crate::capture::{CaptureError, CaptureOptions, capture};
use crate::copy::{CopyError, CopyRequest, Selection, copy_into};
use crate::tree::{Attributes, FileKind, Follow, Metadata, Tree, TreeError, WhiteoutFormat};

/// A plain directory cannot be made or compared.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// The stack cannot be copied.
    #[error("cannot copy the files of the step")]
    Copy(#[from] CopyError),
    /// A layer cannot be read.
    #[error("cannot read a layer")]
    Capture(#[from] CaptureError),
    /// A layer cannot be applied.
    #[error("cannot apply a layer")]
    Unpack(#[from] UnpackError),
    /// A file cannot be looked at or written.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The content of a file cannot be read or written.
    #[error("cannot {action} {path:?}")]
    Content {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

type Result<T, E = PlainError> = std::result::Result<T, E>;

/// What is known of every file below a directory; parents come before what they hold.
type Listing = BTreeMap<PathBuf, Metadata>;

/// A stack as one plain directory.
#[derive(Debug)]
pub struct PlainRoot {
    directory: PathBuf,
    /// Of the layers that it is a copy of.
    format: WhiteoutFormat,
    listing: Listing,
}

impl PlainRoot {
    /// Copies `stack`, layers of the form `format`, to the empty `directory`.
    pub fn copy_of(stack: &Tree, directory: &Path, format: WhiteoutFormat) -> Result<Self> {
        let mut target = Tree::copy_for_write(directory, format)?;
        if let Some(root) = stack.lookup("", Follow::ParentsOnly)? {
            target.set_attributes("", &root.metadata.attributes())?;
        }
        let request = CopyRequest {
            selection: Selection::of("/"),
            destination: "/".to_owned(),
            ..CopyRequest::default()
        };
        copy_into(stack, &mut target, &request)?;
        target.finish()?;
        Ok(Self {
            listing: list(&Tree::copy(directory, format)?)?,
            directory: directory.to_owned(),
            format,
        })
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Applies the layer directory `layer`, which then is part of the stack.
    pub fn apply(&mut self, layer: &Path) -> Result<()> {
        let mut target = Tree::copy_for_write(&self.directory, self.format)?;
        let (reader, writer) = io::pipe().map_err(failed("make a pipe for", layer))?;
        let (captured, unpacked) = std::thread::scope(|scope| {
            let capture = || capture(layer, self.format, writer, &CaptureOptions::default());
            let capturing = scope.spawn(capture);
            let unpacked = unpack(reader, &mut target, &UnpackOptions::layer());
            (capturing.join(), unpacked)
        });
        unpacked?;
        if let Ok(captured) = captured {
            captured?;
        }
        self.listing = list(&Tree::copy(&self.directory, self.format)?)?;
        Ok(())
    }

    /// Writes what changed since the listing to `layer`, whose lower layers are `stack`; the
    /// directory is then a copy of both.
    pub fn changes_into(&mut self, stack: &Tree, layer: &mut Tree) -> Result<()> {
        let here = Tree::copy(&self.directory, self.format)?;
        let now = list(&here)?;
        let mut changes = Changes {
            stack,
            here: &here,
            layer,
            links: HashMap::new(),
        };
        changes.remove(&self.listing, &now)?;
        for (path, metadata) in &now {
            if changes.is_changed(path, self.listing.get(path), metadata)? {
                changes.write(path, metadata)?;
            }
        }
        layer.finish()?;
        self.listing = now;
        Ok(())
    }
}

struct Changes<'a> {
    stack: &'a Tree,
    here: &'a Tree,
    layer: &'a mut Tree,
    /// Where files with several names were written to, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Changes<'_> {
    /// Removes what is gone, and what is a directory no more or was none before.
    fn remove(&mut self, before: &Listing, now: &Listing) -> Result<()> {
        let mut removed: Option<&Path> = None;
        for (path, metadata) in before {
            if removed.is_some_and(|removed| path.starts_with(removed)) {
                continue;
            }
            let stays = now
                .get(path)
                .is_some_and(|now| now.is_directory() == metadata.is_directory());
            if !stays {
                self.layer.remove(path)?;
                removed = Some(path);
            }
        }
        Ok(())
    }

    fn is_changed(&self, path: &Path, before: Option<&Metadata>, now: &Metadata) -> Result<bool> {
        let Some(before) = before else {
            return Ok(true);
        };
        if is_untouched(before, now) {
            return Ok(false);
        }
        // Something was done to it, perhaps to no effect.
        Ok(!looks_equal(before, now) || !self.has_equal_content(path, now)?)
    }

    fn has_equal_content(&self, path: &Path, now: &Metadata) -> Result<bool> {
        if self.stack.lookup(path, Follow::ParentsOnly)?.is_none()
            || self.stack.xattrs(path)? != self.here.xattrs(path)?
        {
            return Ok(false);
        }
        match now.kind {
            FileKind::Regular => self.has_equal_bytes(path),
            FileKind::Symlink => Ok(self.stack.read_link(path)? == self.here.read_link(path)?),
            _ => Ok(true),
        }
    }

    fn has_equal_bytes(&self, path: &Path) -> Result<bool> {
        let mut files = [
            self.stack.open_exactly(path)?.0,
            self.here.open_exactly(path)?.0,
        ];
        let mut buffers = [vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]];
        loop {
            let mut lengths = [0; 2];
            for number in 0..2 {
                lengths[number] =
                    fill(&mut files[number], &mut buffers[number]).map_err(failed("read", path))?;
            }
            let [left, right] = lengths;
            if left != right || buffers[0][..left] != buffers[1][..right] {
                return Ok(false);
            }
            if left == 0 {
                return Ok(true);
            }
        }
    }

    fn write(&mut self, path: &Path, metadata: &Metadata) -> Result<()> {
        let inode = (metadata.device, metadata.inode);
        let has_links = metadata.links > 1 && !metadata.is_directory();
        if has_links && let Some(first) = self.links.get(&inode) {
            return Ok(self.layer.hard_link(path, first)?);
        }
        let attributes = Attributes {
            xattrs: self.here.xattrs(path)?,
            ..metadata.attributes()
        };
        match metadata.kind {
            FileKind::Directory => self.layer.make_directory(path, &attributes)?,
            FileKind::Regular => self.write_regular(path, &attributes)?,
            FileKind::Symlink => {
                let target = self.here.read_link(path)?;
                self.layer.symlink(path, target, &attributes)?;
            }
            kind => self
                .layer
                .special(path, kind, metadata.special_device, &attributes)?,
        }
        if has_links {
            self.links.insert(inode, path.to_owned());
        }
        Ok(())
    }

    fn write_regular(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        let (mut content, _) = self.here.open_exactly(path)?;
        let mut copy = self.layer.create_file(path, attributes)?;
        // Shares blocks where the file system can.
        io::copy(&mut content, copy.file()).map_err(failed("copy", path))?;
        Ok(copy.finish()?)
    }
}

const BUFFER_BYTES: usize = 64 << 10;

fn is_untouched(before: &Metadata, now: &Metadata) -> bool {
    before.inode == now.inode && before.changed == now.changed && looks_equal(before, now)
}

/// The size of a directory, and how many it holds, say nothing.
fn looks_equal(before: &Metadata, now: &Metadata) -> bool {
    let what = |of: &Metadata| {
        (
            of.kind,
            of.mode,
            of.uid,
            of.gid,
            of.modified,
            of.special_device,
        )
    };
    let extent = |of: &Metadata| (of.size, of.links);
    what(before) == what(now) && (now.is_directory() || extent(before) == extent(now))
}

/// How far apart the kernel's clock for files may tick.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Lists a directory, and waits until a later change of any file shows in its times.
fn list(tree: &Tree) -> Result<Listing> {
    let mut listing = Listing::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(above) = pending.pop() {
        for entry in tree.read_dir(&above)? {
            let path = above.join(entry.name);
            if entry.metadata.is_directory() {
                pending.push(path.clone());
            }
            listing.insert(path, entry.metadata);
        }
    }
    let newest = listing.values().map(|metadata| metadata.changed).max();
    if let Some(newest) = newest {
        let since_1970 = Duration::new(newest.seconds.try_into().unwrap_or(0), newest.nanoseconds);
        let settled = SystemTime::UNIX_EPOCH + since_1970 + CLOCK_TICK;
        if let Ok(left) = settled.duration_since(SystemTime::now()) {
            std::thread::sleep(left.min(CLOCK_TICK));
        }
    }
    Ok(listing)
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlainError {
    let path = path.to_owned();
    move |source| PlainError::Content {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
