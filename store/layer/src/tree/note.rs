//! What a process in a user namespace may not give to a file, noted beside it: see [`kiln_note`].
//!
//! Files of users' layers ([`super::WhiteoutFormat::has_notes`]) have notes. Steps see an empty file
//! for a device; with one id they are told the noted owner by their sandbox. A tree and an archive
//! show what is noted.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use kiln_note::VALUE_BYTES_MAXIMUM;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::directory::Flavor;
use super::{FileKind, Metadata, xattr};

pub(crate) use kiln_note::{Carrier, Device, FILE_ATTRIBUTE, Note};

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

/// Returns the metadata as noted: what a file would have if it could.
pub(crate) fn applied_to(note: Note, metadata: Metadata) -> Metadata {
    let mut noted = metadata;
    // Any other owner was given to it later, by a step that could.
    if (metadata.uid, metadata.gid) == (0, 0) {
        (noted.uid, noted.gid) = (note.uid, note.gid);
    }
    if let (FileKind::Regular, Some(device)) = (metadata.kind, note.device) {
        noted.kind = match device.is_block {
            true => FileKind::BlockDevice,
            false => FileKind::CharacterDevice,
        };
        noted.special_device = (device.major, device.minor);
    }
    noted
}

/// Returns how files of a kind carry notes.
fn carrier(kind: FileKind) -> Carrier {
    match kind {
        FileKind::Regular | FileKind::Directory => Carrier::File,
        _ => Carrier::Other,
    }
}

/// Returns the metadata of `name` in `parent` with what is noted beside it.
pub(super) fn noted(
    flavor: Flavor,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    metadata: Metadata,
) -> Metadata {
    match flavor.has_notes() {
        true => noted_name(parent, name, metadata),
        false => metadata,
    }
}

/// Returns the metadata of `name` in `parent`, of a directory that has notes, as noted.
pub(crate) fn noted_name(parent: BorrowedFd<'_>, name: &OsStr, metadata: Metadata) -> Metadata {
    let path = xattr::path_by_handle(parent, name);
    read_with(metadata, |attribute, value| {
        rustix::fs::lgetxattr(&path, attribute, value)
    })
}

/// Returns the metadata of an open file with what is noted beside it.
pub(super) fn noted_handle(flavor: Flavor, handle: BorrowedFd<'_>, metadata: Metadata) -> Metadata {
    if !flavor.has_notes() {
        return metadata;
    }
    read_with(metadata, |attribute, value| {
        rustix::fs::fgetxattr(handle, attribute, value)
    })
}

fn read_with(
    metadata: Metadata,
    get: impl FnOnce(&str, &mut [u8]) -> Result<usize, Errno>,
) -> Metadata {
    let carrier = carrier(metadata.kind);
    let mut value = [0; VALUE_BYTES_MAXIMUM];
    let note = get(carrier.attribute(), &mut value)
        .ok()
        .and_then(|length| carrier.note(&value[..length]));
    note.map_or(metadata, |note| applied_to(note, metadata))
}

/// Notes beside an open file or directory.
pub(super) fn write_handle(handle: BorrowedFd<'_>, note: Note) -> Result<(), Errno> {
    let carrier = Carrier::File;
    let value = carrier.value(note);
    rustix::fs::fsetxattr(handle, carrier.attribute(), &value, XattrFlags::empty())
}

/// Notes beside a link, a pipe or a socket. Where a file system has no room for that it stays
/// root's.
pub(super) fn write_name(parent: BorrowedFd<'_>, name: &OsStr, note: Note) -> Result<(), Errno> {
    let carrier = Carrier::Other;
    let path = xattr::path_by_handle(parent, name);
    let value = carrier.value(note);
    match rustix::fs::lsetxattr(&path, carrier.attribute(), &value, XattrFlags::empty()) {
        Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        other => other,
    }
}

/// Takes back what was noted beside an open file. Of others a change of the owner does.
pub(super) fn remove_handle(handle: BorrowedFd<'_>) -> Result<(), Errno> {
    match rustix::fs::fremovexattr(handle, FILE_ATTRIBUTE) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Timestamp;

    #[test]
    fn notes_count_while_the_file_is_root_s() {
        let device = Device {
            is_block: true,
            major: 8,
            minor: 17,
        };
        let note = Note {
            uid: 1000,
            gid: 42,
            device: Some(device),
        };
        let file = |kind, uid, gid, special_device| Metadata {
            kind,
            mode: 0o644,
            uid,
            gid,
            size: 0,
            modified: Timestamp::default(),
            changed: Timestamp::default(),
            links: 1,
            inode: 1,
            device: 1,
            special_device,
        };
        let block = FileKind::BlockDevice;
        let table = [
            (FileKind::Regular, (0, 0), (block, 1000, 42, (8, 17))),
            (FileKind::Regular, (7, 0), (block, 7, 0, (8, 17))),
            (
                FileKind::Symlink,
                (0, 0),
                (FileKind::Symlink, 1000, 42, (0, 0)),
            ),
        ];
        for (kind, (uid, gid), (shown, user, group, numbers)) in table {
            let found = applied_to(note, file(kind, uid, gid, (0, 0)));
            assert_eq!(found, file(shown, user, group, numbers), "{kind:?} {uid}");
        }
    }
}
