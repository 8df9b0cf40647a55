//! What is known of a file without opening it, and what is given to a new one.

use std::ffi::OsString;

use rustix::fs::{FileType, Statx};

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

impl FileKind {
    pub(crate) fn from_mode(mode: u32) -> Self {
        match FileType::from_raw_mode(mode) {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Socket => Self::Socket,
            FileType::RegularFile | FileType::Unknown => Self::Regular,
        }
    }

    pub(crate) fn file_type(self) -> FileType {
        match self {
            Self::Regular => FileType::RegularFile,
            Self::Directory => FileType::Directory,
            Self::Symlink => FileType::Symlink,
            Self::Fifo => FileType::Fifo,
            Self::CharacterDevice => FileType::CharacterDevice,
            Self::BlockDevice => FileType::BlockDevice,
            Self::Socket => FileType::Socket,
        }
    }

    /// The kind as a noun for messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Regular => "regular file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::Fifo => "named pipe",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Socket => "socket",
        }
    }
}

/// A point in time: seconds and nanoseconds since 1970, as file systems keep it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000, counted forward also before 1970.
    pub nanoseconds: u32,
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Kind of the file.
    pub kind: FileKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content.
    pub modified: Timestamp,
    /// Last change of content or attributes.
    pub changed: Timestamp,
    /// Number of hard links, over all directories of the machine.
    pub links: u64,
    /// Inode number.
    pub inode: u64,
    /// Device the inode lies on.
    pub device: u64,
    /// Major and minor number that a device file stands for.
    pub special_device: (u32, u32),
}

impl Metadata {
    pub(crate) fn from_statx(stat: &Statx) -> Self {
        let mode = u32::from(stat.stx_mode);
        let time = |at: rustix::fs::StatxTimestamp| Timestamp {
            seconds: at.tv_sec,
            nanoseconds: at.tv_nsec,
        };
        Self {
            kind: FileKind::from_mode(mode),
            mode: mode & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            modified: time(stat.stx_mtime),
            changed: time(stat.stx_ctime),
            links: u64::from(stat.stx_nlink),
            inode: stat.stx_ino,
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            special_device: (stat.stx_rdev_major, stat.stx_rdev_minor),
        }
    }

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// The attributes with which an equal file is made, apart from extended ones.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            modified: Some(self.modified),
            xattrs: Vec::new(),
        }
    }
}

/// Whether a device stands for a deleted name in layers: 0:0, or 0:1 in those that are never
/// mounted.
pub(super) fn is_whiteout_device(kind: FileKind, device: (u32, u32)) -> bool {
    kind == FileKind::CharacterDevice && matches!(device, (0, 0 | 1))
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Name with its namespace: `security.capability`.
    pub name: OsString,
    /// Value.
    pub value: Vec<u8>,
}

/// What a new file is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, at most `0o7777`. Symbolic links have none.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Last change of the content; now when absent.
    pub modified: Option<Timestamp>,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
}

impl Attributes {
    /// Root's, with permission bits `mode`, modified now, without extended attributes.
    pub fn root(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            modified: None,
            xattrs: Vec::new(),
        }
    }

    /// The same, owned by `uid` and `gid`.
    pub fn owned_by(self, uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..self }
    }
}
