//! Whose files are, and devices.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use kiln_runspec::filter::EmulatedCall;
use rustix::fs::{FileType, Mode, OFlags};

use super::caller::{Caller, Place};
use super::identity::{Identity, is_kept};
use super::note::{self, Device, Note};
use super::{Answer, Watcher};
use crate::syscall::{self, Shown};

const CAP_MKNOD: u32 = 27;

impl Watcher {
    pub(super) fn change_owner(
        &self,
        caller: &Caller<'_>,
        kind: EmulatedCall,
    ) -> io::Result<Answer> {
        let (file, first) = match kind {
            EmulatedCall::Fchown => (caller.descriptor(caller.word(0) as i32)?, 1),
            EmulatedCall::Fchownat => (open_at(caller, 0, 1, caller.word(4))?, 2),
            other => {
                let follows = other == EmulatedCall::Chown;
                let place = caller.place(libc::AT_FDCWD, 0, follows)?;
                (caller.open(&place)?, 1)
            }
        };
        let wanted = |number| Some(caller.word(number)).filter(|id| !is_kept(*id));
        let (uid, gid) = (wanted(first), wanted(first + 1));
        let stat = rustix::fs::fstat(&file)?;
        if stat.st_uid != 0 {
            // Not of the layers.
            return Ok(Answer::Kernel);
        }
        let before = note::read(file.as_fd(), &stat);
        let owner = note::owner(&stat, before);
        let may = may_give(self.identity(caller)?, owner, uid, gid);
        Ok(match may {
            true => Answer::of(note::give(&file, before.unwrap_or_default(), uid, gid)),
            false => Answer::Error(libc::EPERM),
        })
    }

    /// Makes a device by name, and what else that call makes for others.
    pub(super) fn make_node(&self, caller: &Caller<'_>, kind: EmulatedCall) -> io::Result<Answer> {
        let (place, first) = match kind {
            EmulatedCall::Mknodat => (caller.place(caller.word(0) as i32, 1, false)?, 2),
            _ => (caller.place(libc::AT_FDCWD, 0, false)?, 1),
        };
        let (mode, numbers) = (caller.word(first), u64::from(caller.word(first + 1)));
        let kind = FileType::from_raw_mode(mode as _);
        match kind {
            FileType::CharacterDevice if numbers == 0 => Ok(Answer::Kernel),
            FileType::CharacterDevice | FileType::BlockDevice => {
                let device = Device {
                    is_block: kind == FileType::BlockDevice,
                    major: rustix::fs::major(numbers),
                    minor: rustix::fs::minor(numbers),
                };
                self.make_device(caller, &place, mode, device)
            }
            FileType::Fifo | FileType::Socket | FileType::RegularFile => {
                self.make_plain_node(caller, &place, kind, mode)
            }
            _ => Ok(Answer::Kernel),
        }
    }

    fn make_device(
        &self,
        caller: &Caller<'_>,
        place: &Place,
        mode: u32,
        device: Device,
    ) -> io::Result<Answer> {
        let Some((parent, name)) = caller.open_parent(place)? else {
            return Ok(Answer::Kernel);
        };
        let may = self.identity(caller)?.is_privileged() && caller.has_capability(CAP_MKNOD)?;
        if !may {
            return Ok(Answer::Kernel);
        }
        let mode = Mode::from_raw_mode((mode & 0o7777 & !caller.mask_of_modes()?) as _);
        let owner = self.owner_of_new(caller, parent.as_fd())?;
        let note = Note {
            device: Some(device),
            ..owner.unwrap_or_default()
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, mode);
        Ok(Answer::of(match made {
            Ok(file) => note::write(file.as_fd(), note),
            Err(error) => Err(error.into()),
        }))
    }

    /// Tells what is noted as the kernel would tell it.
    pub(super) fn tell_status(
        &self,
        caller: &Caller<'_>,
        kind: EmulatedCall,
    ) -> io::Result<Answer> {
        use EmulatedCall::*;
        let is_own_mode = caller.call.mode == self.own_mode;
        if kind != Statx && !is_own_mode {
            // Its layout is another.
            return Ok(Answer::Kernel);
        }
        let (file, answer_at) = match kind {
            Fstat => (caller.descriptor(caller.word(0) as i32)?, 1),
            Newfstatat => (open_at(caller, 0, 1, caller.word(3))?, 2),
            Statx => (open_at(caller, 0, 1, caller.word(2))?, 4),
            other => {
                let place = caller.place(libc::AT_FDCWD, 0, other == Stat)?;
                (caller.open(&place)?, 1)
            }
        };
        let Some(shown) = shown(&file)? else {
            return Ok(Answer::Kernel);
        };
        let told = match kind {
            Statx => Some(syscall::statx(file.as_fd(), caller.word(3), &shown)?),
            _ => syscall::stat(file.as_fd(), &shown)?,
        };
        let Some(told) = told else {
            return Ok(Answer::Kernel);
        };
        Ok(Answer::of(caller.write(caller.argument(answer_at), &told)))
    }
}

/// Returns what is told of a file otherwise than the kernel tells it.
fn shown(file: &OwnedFd) -> io::Result<Option<Shown>> {
    let stat = rustix::fs::fstat(file)?;
    let Some(note) = note::read(file.as_fd(), &stat) else {
        return Ok(None);
    };
    let (uid, gid) = note::owner(&stat, Some(note));
    let permissions = stat.st_mode as u32 & 0o7777;
    let (mode, device) = match note.device {
        Some(device) if device.is_block => (libc::S_IFBLK | permissions, device_of(device)),
        Some(device) => (libc::S_IFCHR | permissions, device_of(device)),
        None => (stat.st_mode as u32, (0, 0)),
    };
    Ok(Some(Shown {
        uid,
        gid,
        mode,
        device,
    }))
}

fn device_of(device: Device) -> (u32, u32) {
    (device.major, device.minor)
}

/// Returns whether one may give a file of `owner` to others, as the kernel judges it.
fn may_give(who: &Identity, owner: (u32, u32), uid: Option<u32>, gid: Option<u32>) -> bool {
    let is_owner = who.user.files == owner.0;
    let keeps_user = uid.is_none_or(|uid| is_owner && uid == owner.0);
    let keeps_group = gid.is_none_or(|gid| is_owner && (gid == owner.1 || who.is_in(gid)));
    who.is_privileged() || keeps_user && keeps_group
}

/// Opens what a call names by a directory, a path and flags.
pub(super) fn open_at(
    caller: &Caller<'_>,
    directory: usize,
    path: usize,
    flags: u32,
) -> io::Result<OwnedFd> {
    let flags = flags as i32;
    let directory = caller.word(directory) as i32;
    let path = match caller.argument(path) {
        // Newer kernels take that for an empty path.
        0 => Vec::new(),
        address => caller.text(address)?,
    };
    if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 && directory >= 0 {
        return caller.descriptor(directory);
    }
    caller.open(&Place {
        directory,
        path,
        follows: flags & libc::AT_SYMLINK_NOFOLLOW == 0,
    })
}
