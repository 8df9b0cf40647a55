//! Files that others than root make: they belong to them from the first moment.
//!
//! Those of root and its group need no note, and the kernel makes them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use kiln_runspec::filter::EmulatedCall;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::caller::{Caller, Place};
use super::note::{self, Note};
use super::{Answer, Watcher};

/// How a file is to be opened.
struct Opening {
    place: Place,
    flags: OFlags,
    mode: u32,
}

impl Watcher {
    pub(super) fn make_directory(
        &self,
        caller: &Caller<'_>,
        kind: EmulatedCall,
    ) -> io::Result<Answer> {
        let (place, mode) = match kind {
            EmulatedCall::Mkdirat => (
                caller.place(caller.word(0) as i32, 1, false)?,
                caller.word(2),
            ),
            _ => (caller.place(libc::AT_FDCWD, 0, false)?, caller.word(1)),
        };
        let path = Place {
            path: without_slashes(place.path),
            ..place
        };
        self.make_named(caller, &path, |parent, name| {
            let mode = mode & 0o1777 & !caller.mask_of_modes()?;
            Ok(rustix::fs::mkdirat(
                parent,
                name,
                Mode::from_raw_mode(mode as _),
            )?)
        })
    }

    pub(super) fn make_link(&self, caller: &Caller<'_>, kind: EmulatedCall) -> io::Result<Answer> {
        let target = caller.text(caller.argument(0))?;
        let place = match kind {
            EmulatedCall::Symlinkat => caller.place(caller.word(1) as i32, 2, false)?,
            _ => caller.place(libc::AT_FDCWD, 1, false)?,
        };
        self.make_named(caller, &place, |parent, name| {
            Ok(rustix::fs::symlinkat(target.as_slice(), parent, name)?)
        })
    }

    pub(super) fn make_plain_node(
        &self,
        caller: &Caller<'_>,
        place: &Place,
        kind: FileType,
        mode: u32,
    ) -> io::Result<Answer> {
        self.make_named(caller, place, |parent, name| {
            let mode = Mode::from_raw_mode((mode & 0o7777 & !caller.mask_of_modes()?) as _);
            Ok(rustix::fs::mknodat(parent, name, kind, mode, 0)?)
        })
    }

    /// Makes something that is not opened, if it is another's than root's.
    fn make_named(
        &self,
        caller: &Caller<'_>,
        place: &Place,
        make: impl FnOnce(BorrowedFd<'_>, &[u8]) -> io::Result<()>,
    ) -> io::Result<Answer> {
        let Some((parent, name)) = caller.open_parent(place)? else {
            return Ok(Answer::Kernel);
        };
        let Some(owner) = self.owner_of_new(caller, parent.as_fd())? else {
            return Ok(Answer::Kernel);
        };
        let made = make(parent.as_fd(), name).and_then(|()| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
            note::write(made.as_fd(), owner)
        });
        Ok(Answer::of(made))
    }

    pub(super) fn make_file(&self, caller: &Caller<'_>, kind: EmulatedCall) -> io::Result<Answer> {
        let opening = opening(caller, kind)?;
        let creates = opening.flags.contains(OFlags::CREATE);
        if !creates || opening.flags.intersects(OFlags::PATH | OFlags::DIRECTORY) {
            return Ok(Answer::Kernel);
        }
        let Some((parent, name)) = caller.open_parent(&opening.place)? else {
            return Ok(Answer::Kernel);
        };
        let Some(owner) = self.owner_of_new(caller, parent.as_fd())? else {
            return Ok(Answer::Kernel);
        };
        let mode = Mode::from_raw_mode((opening.mode & 0o7777 & !caller.mask_of_modes()?) as _);
        // Only what is new: to open anything else might take for ever.
        let flags = opening.flags | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(match rustix::fs::openat(&parent, name, flags, mode) {
            Ok(file) => {
                note::write(file.as_fd(), owner)?;
                Answer::Descriptor {
                    descriptor: file,
                    closes_on_exec: opening.flags.contains(OFlags::CLOEXEC),
                }
            }
            Err(Errno::EXIST) => Answer::Kernel,
            Err(error) => Answer::of_error(&error.into()),
        })
    }

    /// Returns whose new files in a directory are; nothing if they are root's. In a directory with
    /// set-group-ID what is new belongs to the directory's group.
    pub(super) fn owner_of_new(
        &self,
        caller: &Caller<'_>,
        parent: BorrowedFd<'_>,
    ) -> io::Result<Option<Note>> {
        let identity = self.identity(caller)?;
        let directory = rustix::fs::fstat(parent)?;
        let gid = match directory.st_mode & libc::S_ISGID {
            0 => identity.group.files,
            _ => note::owner(&directory, note::read(parent, &directory)).1,
        };
        let note = Note {
            uid: identity.user.files,
            gid,
            device: None,
        };
        Ok((note != Note::default()).then_some(note))
    }
}

fn opening(caller: &Caller<'_>, kind: EmulatedCall) -> io::Result<Opening> {
    let here = libc::AT_FDCWD;
    let (directory, path, flags, mode) = match kind {
        EmulatedCall::Open => (here, 0, caller.word(1), caller.word(2)),
        EmulatedCall::Openat => (caller.word(0) as i32, 1, caller.word(2), caller.word(3)),
        EmulatedCall::Openat2 => {
            // Flags, mode, and how a path is resolved, of 64 bits each.
            let how = caller.words(caller.argument(2), 6)?;
            let (low, high) = if cfg!(target_endian = "big") {
                (1, 0)
            } else {
                (0, 1)
            };
            if how[4] != 0 || how[5] != 0 || how[high] != 0 {
                return Err(Errno::NOTSUP.into());
            }
            (caller.word(0) as i32, 1, how[low], how[2 + low])
        }
        _ => {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
            (here, 0, flags.bits(), caller.word(1))
        }
    };
    Ok(Opening {
        place: caller.place(directory, path, false)?,
        flags: OFlags::from_bits_retain(flags),
        mode,
    })
}

/// A directory may be named with slashes at the end.
fn without_slashes(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.last() == Some(&b'/') {
        path.pop();
    }
    path
}
