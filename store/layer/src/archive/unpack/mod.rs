//! Applying an archive to a tree.
//!
//! Everything goes through [`Tree`], which resolves paths inside the root; here is decided what
//! an entry does: replace, merge with a directory, hide. The last of several entries for one
//! path wins, as it does for others who unpack layers.

mod error;
mod options;

use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{
    ArchiveError, Device, Entry, EntryKind, LayerReader, Meaning, WHITEOUT_DEVICE, WHITEOUT_PREFIX,
    is_portable_xattr,
};
use crate::tree::{Attributes, FileKind, Follow, NewFile, Timestamp, Tree, TreeError, Xattr};

pub use error::UnpackError;
pub use options::{Below, DevicePolicy, Names, UnpackLimits, UnpackOptions, UnpackSummary};

type Result<T, E = UnpackError> = std::result::Result<T, E>;

/// Applies the uncompressed archive `input` to `tree`, finishes the tree, and reads `input` to
/// its end, so that a digest of it covers everything.
pub fn unpack(input: impl Read, tree: &mut Tree, options: &UnpackOptions) -> Result<UnpackSummary> {
    let destination = prepare_destination(tree, options)?;
    let mut unpacker = Unpacker {
        tree,
        options,
        destination,
        summary: UnpackSummary::default(),
        ready_parent: None,
        buffer: vec![0; COPY_BUFFER_BYTES],
    };
    let mut reader = LayerReader::new(input);
    while let Some(entry) = reader.next_entry()? {
        unpacker.apply(entry, &mut reader)?;
    }
    let Unpacker {
        summary,
        destination,
        ..
    } = unpacker;
    tree.finish().map_err(|source| UnpackError::Tree {
        path: destination,
        source,
    })?;
    reader.drain()?;
    Ok(summary)
}

const COPY_BUFFER_BYTES: usize = 256 << 10;
const IMPLIED_DIRECTORY_MODE: u32 = 0o755;

fn prepare_destination(tree: &mut Tree, options: &UnpackOptions) -> Result<PathBuf> {
    let path = &options.destination;
    match path.as_os_str().is_empty() {
        true => Ok(PathBuf::new()),
        false => tree
            .make_parents(path, &implied_attributes(options))
            .map_err(|source| UnpackError::Tree {
                path: path.clone(),
                source,
            }),
    }
}

fn implied_attributes(options: &UnpackOptions) -> Attributes {
    let modified = options.implied_modified;
    Attributes {
        modified,
        ..Attributes::root(IMPLIED_DIRECTORY_MODE)
    }
}

struct Unpacker<'a> {
    tree: &'a mut Tree,
    options: &'a UnpackOptions,
    destination: PathBuf,
    summary: UnpackSummary,
    /// The directory that is known to exist, as entries mostly come directory by directory.
    ready_parent: Option<PathBuf>,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn apply(&mut self, entry: Entry, reader: &mut LayerReader<impl Read>) -> Result<()> {
        let limit = self.options.limits.entries;
        self.summary.entries += 1;
        if self.summary.entries > limit {
            return Err(UnpackError::TooManyEntries { limit });
        }
        self.check_path(&entry.path)?;
        let meaning = match self.options.names {
            Names::Layer => entry.meaning()?,
            Names::Literal => Meaning::Present,
        };
        match meaning {
            Meaning::Present if entry.path.as_os_str().is_empty() => self.apply_root(&entry),
            Meaning::Present => self.apply_present(&entry, reader),
            Meaning::Whiteout(path) => self.hide(&path),
            Meaning::Opaque(path) => self.make_opaque(&path),
            Meaning::Ignored => Ok(()),
        }
    }

    fn check_path(&self, path: &Path) -> Result<()> {
        let limits = &self.options.limits;
        let found = path.as_os_str().len();
        if found > limits.path_bytes {
            let (path, limit) = (beginning(path), limits.path_bytes);
            return Err(UnpackError::PathTooLong { path, found, limit });
        }
        // A component has a byte and a slash at least.
        if found / 2 >= limits.path_depth && path.components().count() > limits.path_depth {
            let (path, limit) = (beginning(path), limits.path_depth);
            return Err(UnpackError::PathTooDeep { path, limit });
        }
        Ok(())
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<()> {
        match entry.kind {
            // What is added to has its own.
            EntryKind::Directory if self.options.names == Names::Literal => Ok(()),
            EntryKind::Directory => {
                let attributes = self.attributes(entry);
                let path = self.destination.clone();
                self.tree
                    .set_attributes(&path, &attributes)
                    .map_err(at(&entry.path))
            }
            _ => Err(UnpackError::ReplacesRoot {
                path: entry.path.clone(),
            }),
        }
    }

    fn hide(&mut self, path: &Path) -> Result<()> {
        let path = self.destination.join(path);
        self.prepare_parent(&path)?;
        self.ready_parent = None;
        self.tree.whiteout(&path).map_err(at(&path))
    }

    fn make_opaque(&mut self, path: &Path) -> Result<()> {
        let path = self.destination.join(path);
        let implied = implied_attributes(self.options);
        self.check_own(&path)?;
        let path = self.tree.make_parents(&path, &implied).map_err(at(&path))?;
        self.check_unreserved(&path)?;
        self.ready_parent = None;
        self.tree.set_opaque(&path).map_err(at(&path))
    }

    fn apply_present(&mut self, entry: &Entry, reader: &mut LayerReader<impl Read>) -> Result<()> {
        let path = self.destination.join(&entry.path);
        self.prepare_parent(&path)?;
        self.make_way(&path, &entry.kind)?;
        let attributes = self.attributes(entry);
        let made = match &entry.kind {
            EntryKind::Regular { size } => {
                return self.make_file(&path, &attributes, *size, reader);
            }
            EntryKind::Directory => self.tree.make_directory(&path, &attributes),
            EntryKind::Symlink { target } => {
                self.tree.symlink(&path, target, &attributes).map(drop)
            }
            EntryKind::HardLink { target } => {
                self.tree.hard_link(&path, self.destination.join(target))
            }
            EntryKind::CharacterDevice(device) => {
                return self.make_device(&path, FileKind::CharacterDevice, *device, &attributes);
            }
            EntryKind::BlockDevice(device) => {
                return self.make_device(&path, FileKind::BlockDevice, *device, &attributes);
            }
            EntryKind::Fifo => self
                .tree
                .special(&path, FileKind::Fifo, (0, 0), &attributes),
        };
        made.map_err(at(&path))
    }

    fn prepare_parent(&mut self, path: &Path) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.ready_parent.as_deref() != Some(parent) {
            let implied = implied_attributes(self.options);
            self.check_own(parent)?;
            let made = self.tree.make_parents(parent, &implied).map_err(at(path))?;
            self.check_unreserved(&made)?;
            self.ready_parent = Some(parent.to_owned());
        }
        Ok(())
    }

    /// Refuses a directory, where links lead, that no archive could have: its name would be read
    /// as a whiteout.
    fn check_unreserved(&self, directory: &Path) -> Result<()> {
        let is_reserved = |name: &OsStr| name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes());
        match self.options.names == Names::Layer && directory.iter().any(is_reserved) {
            true => Err(ArchiveError::InWhiteout {
                path: directory.to_owned(),
            }
            .into()),
            false => Ok(()),
        }
    }

    /// Refuses a directory that this archive has not made, if nobody knows what lies below.
    fn check_own(&self, directory: &Path) -> Result<()> {
        if self.options.below == Below::Known || directory.as_os_str().is_empty() {
            return Ok(());
        }
        let found = self.tree.lookup(directory, Follow::All);
        match found.map_err(at(directory))? {
            Some(found) if found.metadata.is_directory() => Ok(()),
            _ => Err(UnpackError::DependsOnBelow {
                path: directory.to_owned(),
            }),
        }
    }

    /// Removes what cannot stay at `path`: a directory for anything else, anything else for a
    /// directory. Files replace each other by themselves.
    fn make_way(&mut self, path: &Path, kind: &EntryKind) -> Result<()> {
        let found = self
            .tree
            .lookup(path, Follow::ParentsOnly)
            .map_err(at(path))?;
        let Some(found) = found else { return Ok(()) };
        if found.metadata.is_directory() != matches!(kind, EntryKind::Directory) {
            if self.options.below == Below::Unknown {
                // Whether this hides something is not known.
                let path = path.to_owned();
                return Err(UnpackError::DependsOnBelow { path });
            }
            self.ready_parent = None;
            self.tree.remove(path).map_err(at(path))?;
        }
        Ok(())
    }

    fn make_device(
        &mut self,
        path: &Path,
        kind: FileKind,
        device: Device,
        attributes: &Attributes,
    ) -> Result<()> {
        if kind == FileKind::CharacterDevice && is_whiteout(device) {
            return Err(UnpackError::HiddenWhiteout {
                path: path.to_owned(),
            });
        }
        match self.options.devices {
            DevicePolicy::Skip => {
                self.summary.skipped_devices += 1;
                Ok(())
            }
            DevicePolicy::Make => {
                let numbers = (device.major, device.minor);
                self.tree
                    .special(path, kind, numbers, attributes)
                    .map_err(at(path))
            }
        }
    }

    fn make_file(
        &mut self,
        path: &Path,
        attributes: &Attributes,
        size: u64,
        reader: &mut LayerReader<impl Read>,
    ) -> Result<()> {
        let limit = self.options.limits.content_bytes;
        self.summary.content_bytes = self.summary.content_bytes.saturating_add(size);
        if self.summary.content_bytes > limit {
            return Err(UnpackError::TooManyBytes {
                path: path.to_owned(),
                limit,
            });
        }
        let mut file = self.tree.create_file(path, attributes).map_err(at(path))?;
        let written = self.copy_content(&mut file, path, reader)?;
        if written != size {
            let path = path.to_owned();
            return Err(ArchiveError::ContentSize {
                path,
                expected: size,
            }
            .into());
        }
        file.finish().map_err(at(path))
    }

    /// Copies the content; stretches of zeros become holes.
    fn copy_content(
        &mut self,
        file: &mut NewFile,
        path: &Path,
        reader: &mut LayerReader<impl Read>,
    ) -> Result<u64> {
        let failed = |source| UnpackError::Content {
            path: path.to_owned(),
            source,
        };
        let mut content = reader.content();
        let (mut written, mut ends_in_hole) = (0, false);
        loop {
            let read = fill(&mut content, &mut self.buffer).map_err(ArchiveError::from)?;
            let Some(bytes) = self.buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            written += read as u64;
            ends_in_hole = is_hole(bytes);
            match ends_in_hole {
                true => file.file().seek(SeekFrom::Current(read as i64)).map(drop),
                false => file.write_all(bytes),
            }
            .map_err(failed)?;
        }
        if ends_in_hole {
            file.file().set_len(written).map_err(failed)?;
        }
        Ok(written)
    }

    fn attributes(&self, entry: &Entry) -> Attributes {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let portable = entry
            .xattrs
            .iter()
            .filter(|(name, _)| is_portable_xattr(name));
        let xattrs = portable.map(|(name, value)| Xattr {
            name: name.clone(),
            value: value.clone(),
        });
        Attributes {
            mode: entry.mode,
            uid,
            gid,
            modified: Some(Timestamp {
                seconds: entry.mtime,
                nanoseconds: 0,
            }),
            xattrs: xattrs.collect(),
        }
    }
}

/// Whether a layer's directory would read the character device as a deletion.
fn is_whiteout(device: Device) -> bool {
    device.major == WHITEOUT_DEVICE.major && device.minor <= 1
}

fn at(path: &Path) -> impl FnOnce(TreeError) -> UnpackError {
    let path = path.to_owned();
    move |source| UnpackError::Tree { path, source }
}

/// Returns enough of a long path to find it.
fn beginning(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    OsStr::from_bytes(&bytes[..bytes.len().min(100)]).into()
}

const LEAST_HOLE_BYTES: usize = 4096;

fn is_hole(bytes: &[u8]) -> bool {
    bytes.len() >= LEAST_HOLE_BYTES && bytes.iter().all(|byte| *byte == 0)
}

/// Reads until `buffer` is full or the content ends.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
