//! What the kernel does not let a file be, noted beside it as an attribute.
//!
//! The form is that of the store's layers, which read these notes: `1000:42`, and for an empty
//! file that stands for a device `0:6 b 8:0`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Stat, Uid, XattrFlags};
use rustix::io::Errno;

const NAME: &str = "user.kiln.file";

/// A device as a file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub is_block: bool,
    pub major: u32,
    pub minor: u32,
}

/// What is noted beside a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub uid: u32,
    pub gid: u32,
    pub device: Option<Device>,
}

impl Note {
    fn to_text(self) -> String {
        let Note { uid, gid, device } = self;
        match device {
            None => format!("{uid}:{gid}"),
            Some(Device {
                is_block,
                major,
                minor,
            }) => {
                let letter = if is_block { 'b' } else { 'c' };
                format!("{uid}:{gid} {letter} {major}:{minor}")
            }
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let pair = |text: &str| {
            let (first, second) = text.split_once(':')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        };
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let (uid, gid) = pair(words.next()?)?;
        let device = match (words.next(), words.next()) {
            (None, _) => None,
            (Some(letter @ ("b" | "c")), Some(numbers)) => {
                let (major, minor) = pair(numbers)?;
                Some(Device {
                    is_block: letter == "b",
                    major,
                    minor,
                })
            }
            _ => return None,
        };
        Some(Note { uid, gid, device })
    }
}

/// Returns what is noted beside a file, which may be open for its path alone.
pub(super) fn read(file: BorrowedFd<'_>) -> Option<Note> {
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(path_of(file), NAME, &mut value).ok()?;
    Note::parse(&value[..length])
}

/// Notes beside a file, or takes back what is noted where there is nothing to say.
///
/// Links, pipes and the like, and files of the kernel's own, cannot have a note: they stay root's.
pub(super) fn write(file: BorrowedFd<'_>, note: Note) -> io::Result<()> {
    let path = path_of(file);
    let written = match note == Note::default() {
        true => rustix::fs::removexattr(path, NAME),
        false => rustix::fs::setxattr(path, NAME, note.to_text().as_bytes(), XattrFlags::empty()),
    };
    match written {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(Errno::PERM) if !can_carry(&rustix::fs::fstat(file)?) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn can_carry(stat: &Stat) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    matches!(kind, FileType::RegularFile | FileType::Directory)
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
/// taken away.
pub(super) fn give(file: &OwnedFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let root = |id: Option<u32>| id.map(|_| 0);
    let (user, group) = (root(uid).map(Uid::from_raw), root(gid).map(Gid::from_raw));
    rustix::fs::chownat(file, "", user, group, AtFlags::EMPTY_PATH)?;
    let before = read(file.as_fd()).unwrap_or_default();
    let after = Note {
        uid: uid.unwrap_or(before.uid),
        gid: gid.unwrap_or(before.gid),
        device: before.device,
    };
    match before == after {
        true => Ok(()),
        false => write(file.as_fd(), after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let device = |is_block| Device {
            is_block,
            major: 8,
            minor: 17,
        };
        let table = [
            ("1000:42", None),
            ("0:6 b 8:17", Some(device(true))),
            ("4294967294:0 c 8:17", Some(device(false))),
        ];
        for (text, device) in table {
            let note = Note::parse(text.as_bytes()).expect(text);
            assert_eq!((note.device, note.to_text()), (device, text.to_owned()));
        }
        for text in ["", "1", "1:2 d 1:2", "1:2 b", "a:b", "1:-2"] {
            assert_eq!(Note::parse(text.as_bytes()), None, "{text}");
        }
    }
}
