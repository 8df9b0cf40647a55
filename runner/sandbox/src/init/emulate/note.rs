//! Notes beside files, read and written by handles that are open for their paths alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use kiln_note::{Carrier, VALUE_BYTES_MAXIMUM};
use rustix::fs::{AtFlags, FileType, Gid, Stat, Uid, XattrFlags};
use rustix::io::Errno;

pub(super) use kiln_note::{Device, Note};

fn carrier(stat: &Stat) -> Carrier {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => Carrier::File,
        _ => Carrier::Other,
    }
}

/// Returns what is noted beside a file.
pub(super) fn read(file: BorrowedFd<'_>, stat: &Stat) -> Option<Note> {
    let carrier = carrier(stat);
    let mut value = [0; VALUE_BYTES_MAXIMUM];
    let length = rustix::fs::getxattr(path_of(file), carrier.attribute(), &mut value).ok()?;
    carrier.note(&value[..length])
}

/// Notes beside a file, or takes back what is noted where there is nothing to say.
///
/// Files of the kernel's own cannot have a note, nor links and the like in some file systems: they
/// stay root's.
pub(super) fn write(file: BorrowedFd<'_>, note: Note) -> io::Result<()> {
    let path = path_of(file);
    let carrier = carrier(&rustix::fs::fstat(file)?);
    let name = carrier.attribute();
    let written = match note == Note::default() {
        true => rustix::fs::removexattr(path, name),
        false => rustix::fs::setxattr(path, name, &carrier.value(note), XattrFlags::empty()),
    };
    match written {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(Errno::PERM) if carrier == Carrier::Other => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The file itself, even if it is a link.
fn path_of(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Returns who a file belongs to, as it is told: its own owner, or who is noted.
pub(super) fn owner(stat: &Stat, note: Option<Note>) -> (u32, u32) {
    match note {
        Some(note) if (stat.st_uid, stat.st_gid) == (0, 0) => (note.uid, note.gid),
        _ => (stat.st_uid, stat.st_gid),
    }
}

/// Gives a file an owner. What else that does, the kernel does: bits that would give rights are
/// taken away, and with them the notes of links and the like.
pub(super) fn give(
    file: &OwnedFd,
    before: Note,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    let root = |id: Option<u32>| id.map(|_| 0);
    let (user, group) = (root(uid).map(Uid::from_raw), root(gid).map(Gid::from_raw));
    rustix::fs::chownat(file, "", user, group, AtFlags::EMPTY_PATH)?;
    let after = Note {
        uid: uid.unwrap_or(before.uid),
        gid: gid.unwrap_or(before.gid),
        device: before.device,
    };
    let is_there = read(file.as_fd(), &rustix::fs::fstat(file)?).unwrap_or_default() == after;
    match is_there {
        true => Ok(()),
        false => write(file.as_fd(), after),
    }
}
