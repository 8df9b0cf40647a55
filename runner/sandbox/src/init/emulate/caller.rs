//! Who asks: its memory, its files, its mark. Nothing of it is trusted.
//!
//! A path is read once and opened here, in the step's own mounts and below the asker's root.
//! Nothing is opened for more than its path, so that no device or pipe can keep this process
//! waiting; no link of `/proc` is gone through, which here would lead where the asker may not go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::syscall::{self, Notification};

/// Longest path, with the byte that ends it.
const PATH_MAXIMUM: usize = 4096;

const PAGE: u64 = 4096;

/// One who waits for an answer.
pub(super) struct Caller<'a> {
    /// `/proc` of the sandbox.
    pub processes: Rc<OwnedFd>,
    pub listener: BorrowedFd<'a>,
    pub call: &'a Notification,
}

/// Where a call looks for a file.
pub(super) struct Place {
    /// The directory that a relative path begins at; [`libc::AT_FDCWD`] for the working directory.
    pub directory: i32,
    pub path: Vec<u8>,
    pub follows: bool,
}

impl Caller<'_> {
    pub fn argument(&self, number: usize) -> u64 {
        self.call.arguments[number]
    }

    /// An argument of 32 bits, whatever is above them.
    pub fn word(&self, number: usize) -> u32 {
        self.call.arguments[number] as u32
    }

    /// Errors: it does not wait any more, and what has its number may be another.
    pub fn is_still_waiting(&self) -> io::Result<()> {
        syscall::is_still_waiting(self.listener, self.call)
    }

    /// Returns the text at an address up to the zero byte that ends it.
    pub fn text(&self, address: u64) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < PATH_MAXIMUM {
            let at = address.wrapping_add(text.len() as u64);
            // What lies behind the end of a page may not be there.
            let mut piece = [0; 256];
            let length = (PAGE - at % PAGE).min(piece.len() as u64) as usize;
            let read = syscall::read_memory(self.call.pid, at, &mut piece[..length])?;
            if let Some(end) = piece[..read].iter().position(|byte| *byte == 0) {
                text.extend(&piece[..end]);
                return Ok(text);
            }
            if read == 0 {
                return Err(Errno::FAULT.into());
            }
            text.extend(&piece[..read]);
        }
        Err(Errno::NAMETOOLONG.into())
    }

    /// Returns `count` words of 32 bits at an address.
    pub fn words(&self, address: u64, count: usize) -> io::Result<Vec<u32>> {
        let mut bytes = vec![0; count * 4];
        match syscall::read_memory(self.call.pid, address, &mut bytes)? {
            read if read == bytes.len() => {}
            _ => return Err(Errno::FAULT.into()),
        }
        let words = bytes.chunks_exact(4);
        Ok(words
            .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
            .collect())
    }

    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.is_still_waiting()?;
        syscall::write_memory(self.call.pid, address, bytes)
    }

    /// Returns the path that the argument of this number points to, from `directory`.
    pub fn place(&self, directory: i32, path: usize, follows: bool) -> io::Result<Place> {
        let path = self.text(self.argument(path))?;
        Ok(Place {
            directory,
            path,
            follows,
        })
    }

    /// Opens what lies at a place, for its path alone.
    pub fn open(&self, place: &Place) -> io::Result<OwnedFd> {
        let flags = match place.follows {
            true => OFlags::empty(),
            false => OFlags::NOFOLLOW,
        };
        self.open_from(place.directory, &place.path, flags)
    }

    /// Opens the directory in which a place lies, and returns its last name; nothing if that names
    /// no entry of it.
    pub fn open_parent<'p>(&self, place: &'p Place) -> io::Result<Option<(OwnedFd, &'p [u8])>> {
        let path = &place.path;
        let start = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = path.split_at(start.map_or(0, |slash| slash + 1));
        if matches!(name, b"" | b"." | b"..") {
            return Ok(None);
        }
        let parent: &[u8] = if parent.is_empty() { b"." } else { parent };
        let directory = self.open_from(place.directory, parent, OFlags::DIRECTORY)?;
        Ok(Some((directory, name)))
    }

    /// Opens a descriptor of the asker's, for its path alone.
    pub fn descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        let opened = self.open_own(&format!("fd/{number}"))?;
        self.is_still_waiting()?;
        Ok(opened)
    }

    fn open_from(&self, directory: i32, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        if path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        let base = match directory {
            // From the root; whichever directory this is.
            _ if path.starts_with(b"/") => self.processes.try_clone()?,
            libc::AT_FDCWD => self.open_own("cwd")?,
            number => self.open_own(&format!("fd/{number}"))?,
        };
        let opened = match self.has_changed_root()? {
            true => self.open_in_its_root(base, path, flags),
            false => open(base.as_fd(), path, flags),
        }?;
        self.is_still_waiting()?;
        Ok(opened)
    }

    /// Opens as the asker would, who has changed its root; links begin there.
    fn open_in_its_root(&self, base: OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let way_back = rustix::fs::open("/", PATH_ALONE, Mode::empty())?;
        let root = self.open_own("root")?;
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        let opened = open(base.as_fd(), path, flags);
        rustix::process::fchdir(&way_back)?;
        rustix::process::chroot(".")?;
        opened
    }

    fn has_changed_root(&self) -> io::Result<bool> {
        let link = format!("{}/root", self.call.pid);
        let root = rustix::fs::readlinkat(&*self.processes, link, Vec::new())?;
        Ok(root.as_bytes() != b"/")
    }

    /// Opens a link of the asker's in `/proc`.
    fn open_own(&self, name: &str) -> io::Result<OwnedFd> {
        let path = format!("{}/{name}", self.call.pid);
        Ok(rustix::fs::openat(
            &*self.processes,
            path,
            PATH_ALONE,
            Mode::empty(),
        )?)
    }

    /// Returns the words of a line of what the kernel tells about it.
    pub fn status(&self, key: &str) -> io::Result<Vec<String>> {
        let path = format!("/proc/{}/status", self.call.pid);
        let status = std::fs::read_to_string(path)?;
        self.is_still_waiting()?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(found, _)| *found == key);
        let (_, value) = found.ok_or(Errno::SRCH)?;
        Ok(value.split_whitespace().map(str::to_owned).collect())
    }

    /// Returns the permission bits that new files of the asker's do not get.
    pub fn mask_of_modes(&self) -> io::Result<u32> {
        let words = self.status("Umask")?;
        let mask = words
            .first()
            .and_then(|word| u32::from_str_radix(word, 8).ok());
        Ok(mask.ok_or(Errno::SRCH)?)
    }

    /// Returns whether the asker has a capability.
    pub fn has_capability(&self, number: u32) -> io::Result<bool> {
        let words = self.status("CapEff")?;
        let set = words
            .first()
            .and_then(|word| u64::from_str_radix(word, 16).ok());
        Ok(set.ok_or(Errno::SRCH)? & (1 << number) != 0)
    }
}

const PATH_ALONE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

fn open(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        base,
        path,
        flags | PATH_ALONE,
        Mode::empty(),
        resolve,
    )?)
}
