//! Files that others than root make: they belong to them from the first moment.
//!
//! Those of root need no note, and the kernel makes them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_runspec::filter::EmulatedCall;
use rustix::fs::{AtFlags, Mode, OFlags};
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
        let Some(owner) = self.owner_of_new(caller)? else {
            return Ok(Answer::Kernel);
        };
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
        let Some((parent, name)) = caller.open_parent(&path)? else {
            return Ok(Answer::Kernel);
        };
        let mode = mode & 0o1777 & !caller.mask_of_modes()?;
        let made = make_directory_of(&parent, name, mode, owner);
        Ok(Answer::of(made))
    }

    pub(super) fn make_file(&self, caller: &Caller<'_>, kind: EmulatedCall) -> io::Result<Answer> {
        let Some(owner) = self.owner_of_new(caller)? else {
            return Ok(Answer::Kernel);
        };
        let opening = opening(caller, kind)?;
        let creates = opening.flags.contains(OFlags::CREATE);
        if !creates || opening.flags.intersects(OFlags::PATH | OFlags::DIRECTORY) {
            return Ok(Answer::Kernel);
        }
        let Some((parent, name)) = caller.open_parent(&opening.place)? else {
            return Ok(Answer::Kernel);
        };
        let mode = Mode::from_raw_mode((opening.mode & 0o7777 & !caller.mask_of_modes()?) as _);
        // Only what is new: to open anything else might take for ever.
        let flags = opening.flags | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(match rustix::fs::openat(&parent, name, flags, mode) {
            Ok(file) => {
                give_new(parent.as_fd(), file.as_fd(), owner)?;
                Answer::Descriptor {
                    descriptor: file,
                    closes_on_exec: opening.flags.contains(OFlags::CLOEXEC),
                }
            }
            Err(Errno::EXIST) => Answer::Kernel,
            Err(error) => Answer::of_error(&error.into()),
        })
    }

    /// Returns whose new files are; nothing if they are root's.
    fn owner_of_new(&self, caller: &Caller<'_>) -> io::Result<Option<Note>> {
        let identity = self.identity(caller)?;
        let note = Note {
            uid: identity.user.files,
            gid: identity.group.files,
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

fn make_directory_of(parent: &OwnedFd, name: &[u8], mode: u32, owner: Note) -> io::Result<()> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode as _))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    give_new(parent.as_fd(), made.as_fd(), owner)
}

/// In a directory with that bit what is new belongs to the directory's group.
fn give_new(parent: BorrowedFd<'_>, made: BorrowedFd<'_>, owner: Note) -> io::Result<()> {
    let directory = rustix::fs::statat(parent, "", AtFlags::EMPTY_PATH)?;
    let gid = match directory.st_mode & libc::S_ISGID {
        0 => owner.gid,
        _ => note::owner(&directory, note::read(parent)).1,
    };
    note::write(made, Note { gid, ..owner })
}

/// A directory may be named with slashes at the end.
fn without_slashes(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.last() == Some(&b'/') {
        path.pop();
    }
    path
}
