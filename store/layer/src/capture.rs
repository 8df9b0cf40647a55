//! Capture: one layer directory becomes its canonical archive.
//!
//! The directory is the upper one of an overlay mount that nobody writes to any more, or several
//! of them that are one layer together. It is walked in lexical order, component by component; memory grows with the depth of the tree, its
//! largest directory and the number of hard links, never with contents.

mod first_names;
mod union;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, openat, readlinkat, statx};
use rustix::io::Errno;

use self::first_names::FirstNames;
use self::union::{Name, Union};
use crate::archive::{
    ArchiveError, Device, Entry, EntryKind, LayerWriter, OPAQUE_MARKER, WHITEOUT_PREFIX, Xattrs,
    is_portable_xattr,
};
use crate::tree::note::{self, Note};
use crate::tree::{FileKind, Metadata, WhiteoutFormat};

/// How a layer directory is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Later modification times become this one: seconds since the epoch.
    pub clamp_mtime_seconds: Option<i64>,
}

/// What was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureSummary {
    /// Entries in the archive, whiteouts included.
    pub entries: u64,
    /// Bytes of content, without headers.
    pub content_bytes: u64,
    /// Sockets left out: archives cannot hold them.
    pub skipped_sockets: u64,
}

/// A layer directory cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The system refused to read something.
    #[error("cannot {action} {path:?}")]
    Read {
        /// What was tried: a verb phrase.
        action: &'static str,
        /// The path inside the layer; empty for its root.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file has a name that means a deletion in archives.
    #[error("{path:?} cannot be part of a layer: names that begin with `.wh.` mean deletions")]
    ReservedName {
        /// The path inside the layer.
        path: PathBuf,
    },
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        Self::Archive(error.into())
    }
}

type Result<T, E = CaptureError> = std::result::Result<T, E>;

/// Writes the archive of the layer directory `upper` to `sink`.
///
/// The root directory itself is no entry.
pub fn capture(
    upper: &Path,
    format: WhiteoutFormat,
    sink: impl Write,
    options: &CaptureOptions,
) -> Result<CaptureSummary> {
    capture_union(&[upper], format, sink, options)
}

/// Writes the archive of a layer to `sink` whose content is the union of `directories`, bottom
/// first. Whiteouts of the lowest one are the layer's; those of the others hide what lies below
/// them in the layer, and leave nothing.
pub fn capture_union(
    directories: &[impl AsRef<Path>],
    format: WhiteoutFormat,
    sink: impl Write,
    options: &CaptureOptions,
) -> Result<CaptureSummary> {
    let mut walk = Walk {
        writer: LayerWriter::new(sink),
        union: Union::open(directories, format)?,
        format,
        options: *options,
        first_names: FirstNames::default(),
        summary: CaptureSummary::default(),
        value_buffer: vec![0; XATTR_BUFFER_BYTES],
    };
    walk.run()?;
    let Walk {
        writer, summary, ..
    } = walk;
    writer.finish()?.flush()?;
    Ok(summary)
}

const OPEN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
// The kernel's own limit for lists and for values.
const XATTR_BUFFER_BYTES: usize = 64 << 10;

fn read_error<E: Into<io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> CaptureError {
    let path = path.to_owned();
    move |source| CaptureError::Read {
        action,
        path,
        source: source.into(),
    }
}

struct Walk<W: Write> {
    writer: LayerWriter<W>,
    union: Union,
    format: WhiteoutFormat,
    options: CaptureOptions,
    first_names: FirstNames,
    summary: CaptureSummary,
    value_buffer: Vec<u8>,
}

impl<W: Write> Walk<W> {
    /// Captures everything.
    fn run(&mut self) -> Result<()> {
        let mut path = PathBuf::new();
        let mut levels = vec![self.union.names(&path)?.into_iter()];
        while let Some(names) = levels.last_mut() {
            let Some(name) = names.next() else {
                levels.pop();
                self.union.leave(&path)?;
                path.pop();
                continue;
            };
            path.push(&name.name);
            if self.capture_name(&name, &path)? {
                levels.push(self.union.names(&path)?.into_iter());
            } else {
                path.pop();
            }
        }
        Ok(())
    }

    /// Writes what is at `path`; whether that is a directory, which it has gone into.
    fn capture_name(&mut self, Name { name, part }: &Name, path: &Path) -> Result<bool> {
        let metadata = stat(self.union.part(*part), name).map_err(read_error("look up", path))?;
        if self.format.is_whiteout(&metadata) {
            if self.union.is_bottom(*part) {
                self.append_whiteout(&with_prefix(path, name))?;
            }
            return Ok(false);
        }
        if name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes()) {
            return Err(CaptureError::ReservedName {
                path: path.to_owned(),
            });
        }
        match metadata.kind {
            FileKind::Directory => {
                self.union.enter(name, *part, path)?;
                self.capture_directory(path, &metadata)?;
                return Ok(true);
            }
            FileKind::Socket => self.summary.skipped_sockets += 1,
            _ => self.capture_file(*part, name, path, &metadata)?,
        }
        Ok(false)
    }

    /// Writes the directory at `path`, which the walk has gone into.
    fn capture_directory(&mut self, path: &Path, metadata: &Metadata) -> Result<()> {
        let handle = self.union.part(0);
        let (xattrs, note) = xattrs(self.format, handle, &mut self.value_buffer, path)?;
        let metadata = note.map_or(*metadata, |note| note::applied_to(note, *metadata));
        let entry = self.entry(path, EntryKind::Directory, &metadata, xattrs);
        self.append(&entry, io::empty())?;
        match self.union.is_opaque() {
            true => self.append_whiteout(&path.join(OPAQUE_MARKER)),
            false => Ok(()),
        }
    }

    fn capture_file(
        &mut self,
        part: usize,
        name: &OsStr,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<()> {
        if metadata.links > 1 {
            if let Some(target) = self.first_names.get(metadata.inode) {
                let metadata = self.noted(part, name, metadata);
                let kind = EntryKind::HardLink { target };
                let entry = self.entry(path, kind, &metadata, Xattrs::new());
                return self.append(&entry, io::empty());
            }
            self.first_names.add(metadata.inode, path);
        }
        let kind = match metadata.kind {
            FileKind::Regular => return self.capture_regular(part, name, path, metadata),
            FileKind::Symlink => EntryKind::Symlink {
                target: read_link(self.union.part(part), name, path)?,
            },
            _ => device_kind(metadata).unwrap_or(EntryKind::Fifo),
        };
        let metadata = self.noted(part, name, metadata);
        let entry = self.entry(path, kind, &metadata, Xattrs::new());
        self.append(&entry, io::empty())
    }

    fn noted(&self, part: usize, name: &OsStr, metadata: &Metadata) -> Metadata {
        match self.format.has_notes() {
            true => note::noted_name(self.union.part(part), name, *metadata),
            false => *metadata,
        }
    }

    fn capture_regular(
        &mut self,
        part: usize,
        name: &OsStr,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<()> {
        let handle = openat(self.union.part(part), name, OPEN_FILE, Mode::empty())
            .map_err(read_error("open", path))?;
        let (xattrs, note) = xattrs(self.format, handle.as_fd(), &mut self.value_buffer, path)?;
        let metadata = note.map_or(*metadata, |note| note::applied_to(note, *metadata));
        if let Some(kind) = device_kind(&metadata) {
            let entry = self.entry(path, kind, &metadata, Xattrs::new());
            return self.append(&entry, io::empty());
        }
        let size = metadata.size;
        let entry = self.entry(path, EntryKind::Regular { size }, &metadata, xattrs);
        self.summary.content_bytes += size;
        self.append(&entry, File::from(handle))
    }

    fn entry(&self, path: &Path, kind: EntryKind, metadata: &Metadata, xattrs: Xattrs) -> Entry {
        let latest = self.options.clamp_mtime_seconds.unwrap_or(i64::MAX);
        // Links have no permissions of their own; what they show differs between kernels.
        let mode = match kind {
            EntryKind::Symlink { .. } => 0o777,
            _ => metadata.mode,
        };
        let (uid, gid) = (metadata.uid, metadata.gid);
        let mtime = metadata.modified.seconds.min(latest);
        Entry {
            path: path.to_owned(),
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        }
    }

    fn append(&mut self, entry: &Entry, content: impl io::Read) -> Result<()> {
        self.summary.entries += 1;
        Ok(self.writer.append(entry, content)?)
    }

    fn append_whiteout(&mut self, path: &Path) -> Result<()> {
        self.summary.entries += 1;
        Ok(self.writer.append_whiteout(path)?)
    }
}

/// Returns the extended attributes that belong to an open file, and what is noted of it.
fn xattrs(
    format: WhiteoutFormat,
    handle: BorrowedFd<'_>,
    buffer: &mut [u8],
    path: &Path,
) -> Result<(Xattrs, Option<Note>)> {
    let failed = "read the extended attributes of";
    let length = match rustix::fs::flistxattr(handle, &mut *buffer) {
        Err(Errno::NOTSUP) => 0,
        other => other.map_err(read_error(failed, path))?,
    };
    let names = buffer[..length].to_vec();
    let mut xattrs = Xattrs::new();
    let mut note = None;
    for name in names.split(|byte| *byte == 0).map(OsStr::from_bytes) {
        let is_note = format.has_notes() && name == note::FILE_ATTRIBUTE;
        if !is_portable_xattr(name) && !is_note {
            continue;
        }
        match rustix::fs::fgetxattr(handle, name, &mut *buffer) {
            Err(Errno::NODATA) => {}
            other if is_note => {
                let length = other.map_err(read_error(failed, path))?;
                note = note::Carrier::File.note(&buffer[..length]);
            }
            other => {
                let length = other.map_err(read_error(failed, path))?;
                xattrs.insert(name.to_owned(), buffer[..length].to_vec());
            }
        }
    }
    Ok((xattrs, note))
}

fn device_kind(metadata: &Metadata) -> Option<EntryKind> {
    let (major, minor) = metadata.special_device;
    match metadata.kind {
        FileKind::CharacterDevice => Some(EntryKind::CharacterDevice(Device { major, minor })),
        FileKind::BlockDevice => Some(EntryKind::BlockDevice(Device { major, minor })),
        _ => None,
    }
}

/// Returns the whiteout's path for a deleted `path` that ends in `name`.
fn with_prefix(path: &Path, name: &OsStr) -> PathBuf {
    let mut prefixed = OsString::from(WHITEOUT_PREFIX);
    prefixed.push(name);
    path.with_file_name(prefixed)
}

fn read_link(parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<PathBuf> {
    let target = readlinkat(parent, name, Vec::new()).map_err(read_error("read the link", path))?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// Returns what is known of `name` in `parent`, or of `parent` itself for an empty name.
fn stat(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Metadata, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let stat = statx(parent, name, flags, StatxFlags::BASIC_STATS)?;
    Ok(Metadata::from_statx(&stat))
}
