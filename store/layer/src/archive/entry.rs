//! Entries of a layer archive.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ArchiveError;

/// Extended attributes: name and value, by name.
pub type Xattrs = BTreeMap<OsString, Vec<u8>>;

/// One entry of a layer archive; the content of a regular file follows it in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where: relative to the root, without `.` and `..`; empty for the root itself.
    pub path: PathBuf,
    /// What.
    pub kind: EntryKind,
    /// Permission bits with set-user-id, set-group-id and sticky bit (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of content, whole seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes.
    Regular {
        /// The content's length in bytes, holes included.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link with its target as written.
    Symlink {
        /// The target.
        target: PathBuf,
    },
    /// A further name for the file at `target`.
    HardLink {
        /// The first name: relative to the root, checked as [`Entry::path`].
        target: PathBuf,
    },
    /// A character device.
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// A device's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Major number, at most 12 bits.
    pub major: u32,
    /// Minor number, at most 20 bits.
    pub minor: u32,
}

/// The number that stands for a deletion when a character device has it as major and minor.
pub const WHITEOUT_DEVICE: Device = Device { major: 0, minor: 0 };

/// What the name of a deleted file begins with in an archive.
pub const WHITEOUT_PREFIX: &str = ".wh.";

/// The name that says of its directory: nothing of the layers below shows through.
pub const OPAQUE_MARKER: &str = ".wh..wh..opq";

/// What a layer's entry means: something is there, or something is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The entry is what it says.
    Present,
    /// The path is deleted.
    Whiteout(PathBuf),
    /// The directory hides what lies below it in lower layers.
    Opaque(PathBuf),
    /// Housekeeping of an old union file system (`.wh..wh.plnk` and the like); says nothing.
    Ignored,
}

/// Whether a file of this name, and what is in it, was an old union file system's own.
fn is_housekeeping(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".wh..wh.")
}

impl Entry {
    /// Returns what the entry means in a layer.
    ///
    /// Errors: a whiteout whose name is not that of something in a directory.
    pub fn meaning(&self) -> Result<Meaning, ArchiveError> {
        let Some(name) = self.path.file_name() else {
            return Ok(Meaning::Present);
        };
        let parent = self.path.parent().unwrap_or(Path::new(""));
        if parent.iter().any(is_housekeeping) {
            return Ok(Meaning::Ignored);
        }
        let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes()) else {
            return Ok(Meaning::Present);
        };
        match hidden {
            b".wh..opq" => Ok(Meaning::Opaque(parent.to_owned())),
            b"" | b"." | b".." => Err(ArchiveError::BadWhiteout {
                path: self.path.clone(),
            }),
            _ if is_housekeeping(name) => Ok(Meaning::Ignored),
            _ => Ok(Meaning::Whiteout(parent.join(OsStr::from_bytes(hidden)))),
        }
    }
}

const MAX_PATH_BYTES: usize = 64 << 10;

/// Returns an archive's path relative to the root, without empty and `.` components.
///
/// A leading slash is dropped. Errors: `..` components, NUL bytes, more than 64 KiB.
pub(super) fn checked_path(bytes: &[u8]) -> Result<PathBuf, ArchiveError> {
    let display = || PathBuf::from(OsStr::from_bytes(&bytes[..bytes.len().min(4096)]));
    if bytes.len() > MAX_PATH_BYTES || bytes.contains(&0) {
        return Err(ArchiveError::BadPath { path: display() });
    }
    let mut path = PathBuf::new();
    for component in bytes.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(ArchiveError::LeavesRoot { path: display() }),
            name => path.push(OsStr::from_bytes(name)),
        }
    }
    Ok(path)
}

/// Returns whether an extended attribute belongs to the file, not to the machine it lay on.
///
/// Kept are file capabilities, access lists and the users' own. What an overlay file system says
/// of its layers never passes, nor do security labels of the host.
pub fn is_portable_xattr(name: &OsStr) -> bool {
    let name = name.as_bytes();
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        // A PAX key ends at the first `=`.
        _ if name.contains(&b'=') => false,
        // What a store notes of files is not theirs to say.
        _ if name == crate::tree::note::FILE_ATTRIBUTE.as_bytes() => false,
        _ => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            path: path.into(),
            kind: EntryKind::Regular { size: 0 },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: Xattrs::new(),
        }
    }

    #[test]
    fn paths_are_relative_to_the_root_and_stay_inside() {
        for (text, expected) in [
            ("a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("./", ""),
            ("./a/./b", "a/b"),
        ] {
            assert_eq!(
                checked_path(text.as_bytes()).unwrap(),
                Path::new(expected),
                "{text}"
            );
        }
        for text in ["..", "../x", "a/../b", "/..", "a\0b"] {
            assert!(checked_path(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(checked_path(&[b'a'; MAX_PATH_BYTES + 1]).is_err());
    }

    #[test]
    fn whiteouts_name_what_they_hide() {
        let whiteout = |path: &str| Meaning::Whiteout(path.into());
        assert_eq!(entry("d/.wh.x").meaning().unwrap(), whiteout("d/x"));
        assert_eq!(entry("d/.wh..x").meaning().unwrap(), whiteout("d/.x"));
        assert_eq!(
            entry("d/.wh..wh..opq").meaning().unwrap(),
            Meaning::Opaque("d".into())
        );
        assert_eq!(entry(".wh..wh.plnk").meaning().unwrap(), Meaning::Ignored);
        assert_eq!(entry("d/wh.x").meaning().unwrap(), Meaning::Present);
        for path in ["d/.wh.", "d/.wh..", "d/.wh...", ".wh..."] {
            assert!(entry(path).meaning().is_err(), "{path}");
        }
    }

    #[test]
    fn xattrs_of_overlay_file_systems_and_of_the_host_do_not_pass() {
        for name in ["user.mime", "security.capability"] {
            assert!(is_portable_xattr(OsStr::new(name)), "{name}");
        }
        let refused = [
            "trusted.overlay.opaque",
            "user.overlay.redirect",
            "trusted.x",
            "security.selinux",
            "user.kiln.file",
        ];
        for name in refused {
            assert!(!is_portable_xattr(OsStr::new(name)), "{name}");
        }
    }
}
