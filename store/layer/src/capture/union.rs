//! Directories that are one layer together, walked as one.
//!
//! Only one directory of each is open at a time, so that trees may be deeper than a process may
//! have handles; the way back leads through `..`, and must lead to where it came from.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use super::{Result, read_error, stat};
use crate::tree::WhiteoutFormat;

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const DIRECTORY_BUFFER_BYTES: usize = 64 << 10;

/// Where a walk is.
pub(super) struct Union {
    format: WhiteoutFormat,
    /// The directory in each layer directory that contributes to it, top first.
    parts: Vec<Part>,
    above: Vec<Above>,
    buffer: Vec<u8>,
}

struct Part {
    handle: OwnedFd,
    inode: u64,
    /// Whether nothing of the layer lies below.
    is_bottom: bool,
}

/// A directory that the walk went down from.
struct Above {
    parts: Vec<PartAbove>,
    /// Which of them the parts below lie in.
    entered: Vec<usize>,
}

/// What is known of a part of it.
struct PartAbove {
    inode: u64,
    is_bottom: bool,
    /// It, unless the way back leads to it.
    handle: Option<OwnedFd>,
}

/// Something that a directory shows.
pub(super) struct Name {
    pub name: OsString,
    /// The part that it lies in.
    pub part: usize,
}

impl Union {
    /// Opens the union of `directories`, bottom first.
    pub fn open(directories: &[impl AsRef<Path>], format: WhiteoutFormat) -> Result<Self> {
        let root = Path::new("");
        let mut parts = Vec::with_capacity(directories.len());
        for (number, directory) in directories.iter().enumerate().rev() {
            let handle = rustix::fs::open(directory.as_ref(), OPEN_DIRECTORY, Mode::empty());
            let handle = handle.map_err(read_error("open the directory", root))?;
            parts.push(Part::of(handle, number == 0, root)?);
        }
        Ok(Union {
            format,
            parts,
            above: Vec::new(),
            buffer: Vec::with_capacity(DIRECTORY_BUFFER_BYTES),
        })
    }

    /// Returns the handle of a part of where the walk is.
    pub fn part(&self, number: usize) -> BorrowedFd<'_> {
        self.parts[number].handle.as_fd()
    }

    /// Whether nothing of the layer lies below that part.
    pub fn is_bottom(&self, number: usize) -> bool {
        self.parts[number].is_bottom
    }

    /// Whether what layers below have at `path`, where the walk is, is hidden.
    pub fn is_opaque(&self) -> bool {
        let last = self.parts.last().expect("a directory has a part");
        is_opaque(self.format, last.handle.as_fd())
    }

    /// Returns the names that the directory shows, sorted, and those of whiteouts.
    pub fn names(&mut self, path: &Path) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            let mut entries = RawDir::new(&part.handle, self.buffer.spare_capacity_mut());
            while let Some(entry) = entries.next() {
                let entry = entry.map_err(read_error("read the directory", path))?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    names.push(Name {
                        name: OsString::from_vec(name.to_vec()),
                        part: number,
                    });
                }
            }
        }
        names.sort_unstable_by(|left, right| {
            (&left.name, left.part).cmp(&(&right.name, right.part))
        });
        names.dedup_by(|below, above| below.name == above.name);
        Ok(names)
    }

    /// Goes down to the directory `name`, which `part` has. `path` leads there.
    pub fn enter(&mut self, name: &OsStr, part: usize, path: &Path) -> Result<()> {
        let (mut below, mut entered) = (Vec::new(), Vec::new());
        for (number, part) in self.parts.iter().enumerate().skip(part) {
            let handle = match openat(&part.handle, name, OPEN_DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) if !below.is_empty() => continue,
                // A file or a whiteout hides what lies below it.
                Err(Errno::NOTDIR | Errno::LOOP) if !below.is_empty() => break,
                opened => opened.map_err(read_error("open the directory", path))?,
            };
            let hides = !part.is_bottom && is_opaque(self.format, handle.as_fd());
            below.push(Part::of(handle, part.is_bottom, path)?);
            entered.push(number);
            if hides {
                break;
            }
        }
        let parts = std::mem::replace(&mut self.parts, below);
        let left = parts
            .into_iter()
            .enumerate()
            .map(|(number, part)| PartAbove {
                inode: part.inode,
                is_bottom: part.is_bottom,
                handle: (!entered.contains(&number)).then_some(part.handle),
            });
        self.above.push(Above {
            parts: left.collect(),
            entered,
        });
        Ok(())
    }

    /// Goes back up from the directory at `path`; whether there was a way up.
    pub fn leave(&mut self, path: &Path) -> Result<bool> {
        let Some(above) = self.above.pop() else {
            return Ok(false);
        };
        let mut parts = Vec::with_capacity(above.parts.len());
        for (number, part) in above.parts.into_iter().enumerate() {
            let handle = match part.handle {
                Some(handle) => handle,
                None => {
                    let entered = above.entered.iter().position(|entered| *entered == number);
                    let below = &self.parts[entered.expect("a part that was entered")];
                    open_parent(below.handle.as_fd(), part.inode, path)?
                }
            };
            parts.push(Part {
                handle,
                inode: part.inode,
                is_bottom: part.is_bottom,
            });
        }
        self.parts = parts;
        Ok(true)
    }
}

impl Part {
    fn of(handle: OwnedFd, is_bottom: bool, path: &Path) -> Result<Self> {
        let metadata = stat(handle.as_fd(), OsStr::new(""));
        let inode = metadata.map_err(read_error("look up", path))?.inode;
        Ok(Part {
            handle,
            inode,
            is_bottom,
        })
    }
}

fn is_opaque(format: WhiteoutFormat, directory: BorrowedFd<'_>) -> bool {
    let mut value = [0; 2];
    let length = rustix::fs::fgetxattr(directory, format.opaque_name(), &mut value);
    length.is_ok_and(|length| &value[..length] == b"y")
}

fn open_parent(child: BorrowedFd<'_>, inode: u64, path: &Path) -> Result<OwnedFd> {
    let failed = "return to the directory above";
    let parent =
        openat(child, "..", OPEN_DIRECTORY, Mode::empty()).map_err(read_error(failed, path))?;
    let found = stat(parent.as_fd(), OsStr::new("")).map_err(read_error(failed, path))?;
    match found.inode == inode {
        true => Ok(parent),
        false => Err(read_error(failed, path)(io::Error::other(
            "the directory was moved",
        ))),
    }
}
