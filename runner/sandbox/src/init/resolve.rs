//! Paths inside a root, by handle: links and `..` never lead out of it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// What is done about a component that does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    /// Directories are made, and a directory at the end.
    MakeDirectory,
    /// Directories are made, and an empty file at the end.
    MakeFile,
}

/// Something that was made and has a name.
#[derive(Debug)]
pub(crate) struct CreatedStub {
    parent: OwnedFd,
    name: Vec<u8>,
    is_directory: bool,
    /// Access and modification times of the parent before.
    times: Timestamps,
    /// The entry itself.
    pub(super) entry: OwnedFd,
}

impl CreatedStub {
    /// Removes it if it is still empty, and gives its parent the times back.
    pub(crate) fn remove(&self) {
        let name = self.name.as_slice();
        let removed = if self.is_directory {
            rustix::fs::unlinkat(&self.parent, name, AtFlags::REMOVEDIR)
        } else if is_empty_file(self) {
            rustix::fs::unlinkat(&self.parent, name, AtFlags::empty())
        } else {
            return;
        };
        if removed.is_ok() {
            let flags = AtFlags::EMPTY_PATH;
            let _ = rustix::fs::utimensat(&self.parent, "", &self.times, flags);
        }
    }
}

/// A resolved path.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// A handle of what lies there (`O_PATH`).
    pub(crate) handle: OwnedFd,
    /// What was made on the way, outermost first.
    pub(crate) created: Vec<CreatedStub>,
}

/// As many links as the kernel follows.
const MAXIMUM_LINKS: usize = 40;

/// Resolves `path` inside `root`; links are followed inside it, the last one too.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &str, missing: Missing) -> io::Result<Resolved> {
    let mut walk = Walk {
        directories: vec![root.try_clone_to_owned()?],
        pending: split(path.as_bytes()),
        created: Vec::new(),
        links_left: MAXIMUM_LINKS,
        missing,
    };
    while let Some(name) = walk.pending.pop() {
        if let Some(handle) = walk.step(name)? {
            return Ok(Resolved {
                handle,
                created: walk.created,
            });
        }
    }
    Ok(Resolved {
        handle: walk.current().try_clone_to_owned()?,
        created: walk.created,
    })
}

/// Opens an existing path inside `root` without following any link.
pub(super) fn open_plain(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let path = path.trim_start_matches('/');
    open_resolving(root, path, flags | OFlags::CLOEXEC, resolve)
}

/// Opens an existing path inside `root`; links are followed inside it.
pub(crate) fn open_inside(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = match path.trim_start_matches('/') {
        "" => ".",
        path => path,
    };
    open_resolving(root, path, OFlags::PATH | OFlags::CLOEXEC, resolve)
}

/// The kernel gives up when something is renamed meanwhile; who renames without end waits as
/// long as this.
const MAXIMUM_TRIES: usize = 128;

fn open_resolving(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    for _ in 1..MAXIMUM_TRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            result => return Ok(result?),
        }
    }
    Err(Errno::AGAIN.into())
}

struct Walk {
    /// From the root to where the walk is; `..` goes back along it.
    directories: Vec<OwnedFd>,
    /// Components still to go, last first.
    pending: Vec<Vec<u8>>,
    created: Vec<CreatedStub>,
    links_left: usize,
    missing: Missing,
}

impl Walk {
    fn current(&self) -> BorrowedFd<'_> {
        // The root is never popped.
        self.directories[self.directories.len() - 1].as_fd()
    }

    /// Takes one component; returns the handle when it was the last and no directory.
    fn step(&mut self, name: Vec<u8>) -> io::Result<Option<OwnedFd>> {
        if name == b".." {
            if self.directories.len() > 1 {
                self.directories.pop();
            }
            return Ok(None);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(self.current(), name.as_slice(), flags, Mode::empty());
        let entry = match found {
            Ok(entry) => entry,
            Err(Errno::NOENT) => self.make(&name)?,
            Err(error) => return Err(error.into()),
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&entry)?.st_mode);
        match kind {
            FileType::Directory => {
                self.directories.push(entry);
                Ok(None)
            }
            FileType::Symlink => self.follow(&entry),
            _ if self.pending.is_empty() => Ok(Some(entry)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn follow(&mut self, link: &OwnedFd) -> io::Result<Option<OwnedFd>> {
        self.links_left = self.links_left.checked_sub(1).ok_or(Errno::LOOP)?;
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        if target.as_bytes().starts_with(b"/") {
            self.directories.truncate(1);
        }
        self.pending.extend(split(target.as_bytes()));
        Ok(None)
    }

    fn make(&mut self, name: &[u8]) -> io::Result<OwnedFd> {
        let is_directory = match self.missing {
            Missing::MakeDirectory => true,
            Missing::MakeFile => !self.pending.is_empty(),
        };
        let parent = self.current().try_clone_to_owned()?;
        let times = times_of(&parent)?;
        if is_directory {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let entry = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
        self.created.push(CreatedStub {
            parent,
            name: name.to_vec(),
            is_directory,
            times,
            entry: entry.try_clone()?,
        });
        Ok(entry)
    }
}

/// Components, last first; empty ones and `.` say nothing.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    let components = path.split(|byte| *byte == b'/');
    let telling = components.filter(|name| !name.is_empty() && *name != b".");
    let mut components: Vec<Vec<u8>> = telling.map(<[u8]>::to_vec).collect();
    components.reverse();
    components
}

pub(crate) fn times_of(directory: &OwnedFd) -> io::Result<Timestamps> {
    let stat = rustix::fs::fstat(directory)?;
    Ok(Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    })
}

/// Removes what is still empty, innermost first, and gives parents their times back.
///
/// What the command filled or replaced belongs to it and stays.
pub(super) fn remove_stubs(stubs: Vec<CreatedStub>) {
    for stub in stubs.into_iter().rev() {
        let name = OsStr::from_bytes(&stub.name);
        // It is still mounted over. Relative to the handle: no path is resolved again.
        if rustix::process::fchdir(&stub.parent).is_ok() {
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            let _ = rustix::mount::unmount(name, flags);
        }
        stub.remove();
    }
    let _ = rustix::process::chdir("/");
}

fn is_empty_file(stub: &CreatedStub) -> bool {
    let found = rustix::fs::statat(
        &stub.parent,
        stub.name.as_slice(),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    let same = rustix::fs::fstat(&stub.entry);
    match (found, same) {
        (Ok(found), Ok(same)) => found.st_size == 0 && found.st_ino == same.st_ino,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
