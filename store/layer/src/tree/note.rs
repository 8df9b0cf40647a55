//! What a process in a user namespace may not give to a file, noted beside it.
//!
//! There the kernel makes no devices, and no owners that the namespace does not map. In layers
//! of users ([`super::WhiteoutFormat::has_notes`]) a file or directory then says in an extended attribute,
//! `user.kiln.file`, whose it is: `1000:42`, and a regular file that stands for a device what
//! it stands for: `0:6 b 8:0`. Steps see an empty file; with one id they are told the noted owner,
//! which their sandbox reads and writes in the same form. A tree and an archive show what is noted.
//! Symbolic links and named pipes cannot carry attributes: they are root's.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::directory::Flavor;
use super::{FileKind, Metadata, xattr};

/// The name of the attribute.
pub(crate) const NAME: &str = "user.kiln.file";

/// What is noted beside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub uid: u32,
    pub gid: u32,
    /// The device that a regular file stands for: its kind, major and minor number.
    pub device: Option<(FileKind, (u32, u32))>,
}

impl Flavor {
    /// Whether notes are written and read.
    pub(super) fn has_notes(self) -> bool {
        match self {
            Self::Host => false,
            Self::NotedHost => true,
            Self::Layers(format) => format.has_notes(),
        }
    }
}

impl Note {
    fn to_text(self) -> String {
        let Self { uid, gid, device } = self;
        match device {
            None => format!("{uid}:{gid}"),
            Some((kind, (major, minor))) => {
                let letter = if kind == FileKind::BlockDevice {
                    'b'
                } else {
                    'c'
                };
                format!("{uid}:{gid} {letter} {major}:{minor}")
            }
        }
    }

    /// Returns what `value` notes; nothing if it is no note.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let pair = |text: &str| {
            let (first, second) = text.split_once(':')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        };
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let (uid, gid) = pair(words.next()?)?;
        let device = match (words.next(), words.next()) {
            (None, _) => None,
            (Some("b"), Some(numbers)) => Some((FileKind::BlockDevice, pair(numbers)?)),
            (Some("c"), Some(numbers)) => Some((FileKind::CharacterDevice, pair(numbers)?)),
            _ => return None,
        };
        Some(Self { uid, gid, device })
    }

    /// Returns the metadata as noted: what a file or directory would have if it could.
    pub(crate) fn applied_to(self, metadata: Metadata) -> Metadata {
        let mut noted = metadata;
        // Any other owner was given to it later, by a step that could.
        if (metadata.uid, metadata.gid) == (0, 0) {
            (noted.uid, noted.gid) = (self.uid, self.gid);
        }
        if let (FileKind::Regular, Some((kind, numbers))) = (metadata.kind, self.device) {
            noted.kind = kind;
            noted.special_device = numbers;
        }
        noted
    }
}

fn can_carry(metadata: &Metadata) -> bool {
    matches!(metadata.kind, FileKind::Regular | FileKind::Directory)
}

/// Returns the metadata of `name` in `parent` with what is noted beside it.
pub(super) fn noted(
    flavor: Flavor,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    metadata: Metadata,
) -> Metadata {
    if !flavor.has_notes() || !can_carry(&metadata) {
        return metadata;
    }
    let path = xattr::path_by_handle(parent, name);
    read_with(metadata, |value| rustix::fs::lgetxattr(&path, NAME, value))
}

/// Returns the metadata of an open file with what is noted beside it.
pub(super) fn noted_handle(flavor: Flavor, handle: BorrowedFd<'_>, metadata: Metadata) -> Metadata {
    if !flavor.has_notes() || !can_carry(&metadata) {
        return metadata;
    }
    read_with(metadata, |value| rustix::fs::fgetxattr(handle, NAME, value))
}

fn read_with(metadata: Metadata, get: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Metadata {
    let mut value = [0; 64];
    let note = get(&mut value)
        .ok()
        .and_then(|length| Note::parse(&value[..length]));
    note.map_or(metadata, |note| note.applied_to(metadata))
}

/// Notes beside an open file.
pub(super) fn write_handle(handle: BorrowedFd<'_>, note: Note) -> Result<(), Errno> {
    let text = note.to_text();
    rustix::fs::fsetxattr(handle, NAME, text.as_bytes(), XattrFlags::empty())
}

/// Takes back what was noted beside an open file.
pub(super) fn remove_handle(handle: BorrowedFd<'_>) -> Result<(), Errno> {
    match rustix::fs::fremovexattr(handle, NAME) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let device = |kind| Some((kind, (8, 17)));
        for device in [
            None,
            device(FileKind::BlockDevice),
            device(FileKind::CharacterDevice),
        ] {
            let note = Note {
                uid: 1000,
                gid: 4_294_967_294,
                device,
            };
            assert_eq!(Note::parse(note.to_text().as_bytes()), Some(note));
        }
        for text in [
            "",
            "1",
            "1:2 d 1:2",
            "1:2 b",
            "1:2 b 3",
            "a:b",
            "1:-2",
            "\u{ff}",
        ] {
            assert_eq!(Note::parse(text.as_bytes()), None, "{text}");
        }
    }
}
