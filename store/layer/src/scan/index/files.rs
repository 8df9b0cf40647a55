//! The files of one directory in an index, one after the other.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::FileExt;

use super::super::{Content, Stamp};
use crate::tree::Timestamp;

const STAMP_BYTES: usize = 48;
pub(super) const CONTENT_BYTES: usize = 32;
/// Bytes of a file beside its name.
pub(super) const FIXED_BYTES: usize = 2 + STAMP_BYTES + CONTENT_BYTES;
/// Read at once at first: as much as ten files or so take; later more.
const FIRST_PART_BYTES: usize = 2 * 1024;
const MOST_PART_BYTES: usize = 64 * 1024;

/// A file of which something is known.
pub(super) struct File<'a> {
    pub name: &'a [u8],
    pub stamp: Stamp,
    pub content: Content,
}

/// The files of a directory that were not looked at yet.
pub(super) struct Files<'a> {
    bytes: Cow<'a, [u8]>,
    at: usize,
    count: usize,
    /// Where more is read, and the place of what follows `bytes` there.
    more: Option<(&'a fs::File, u64)>,
}

impl<'a> Files<'a> {
    pub fn none() -> Self {
        Files::held(&[], 0)
    }

    /// Returns those that begin where `bytes` begin.
    pub fn held(bytes: &'a [u8], count: usize) -> Self {
        Files {
            bytes: Cow::Borrowed(bytes),
            at: 0,
            count,
            more: None,
        }
    }

    /// Returns those that begin at `start` in `file`.
    pub fn in_file(file: &'a fs::File, start: u64, count: usize) -> Self {
        Files {
            more: Some((file, start)),
            ..Files::held(&[], count)
        }
    }

    /// Returns the next one. What cannot be read is not known.
    pub fn peek(&mut self) -> Option<File<'_>> {
        if self.count == 0 {
            return None;
        }
        while self.more.is_some() && decode(&self.bytes[self.at..]).is_none() {
            self.read_on();
        }
        decode(&self.bytes[self.at..])
    }

    /// Goes on to the one after.
    pub fn advance(&mut self) {
        let Some(file) = self.peek() else { return };
        let length = FIXED_BYTES + file.name.len();
        self.at += length;
        self.count -= 1;
    }

    /// Reads some more behind what was not looked at yet.
    fn read_on(&mut self) {
        let Some((file, from)) = self.more else {
            return;
        };
        let mut bytes = self.bytes[self.at..].to_vec();
        let start = bytes.len();
        let part = (self.bytes.len() * 2).clamp(FIRST_PART_BYTES, MOST_PART_BYTES);
        bytes.resize(start + part, 0);
        let read = loop {
            match file.read_at(&mut bytes[start..], from) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read.unwrap_or(0),
            }
        };
        bytes.truncate(start + read);
        self.more = (read > 0).then_some((file, from + read as u64));
        self.bytes = Cow::Owned(bytes);
        self.at = 0;
    }
}

/// Returns the file that `bytes` begin with, if that is all there.
fn decode(bytes: &[u8]) -> Option<File<'_>> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (name, rest) = rest.split_at_checked(length)?;
    let (stamp, rest) = rest.split_first_chunk::<STAMP_BYTES>()?;
    let content = rest.first_chunk::<CONTENT_BYTES>()?;
    Some(File {
        name,
        stamp: decode_stamp(stamp),
        content: *content,
    })
}

impl File<'_> {
    /// Appends it to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        // Names have 255 bytes at most.
        bytes.extend((self.name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(self.name);
        encode_stamp(&self.stamp, bytes);
        bytes.extend_from_slice(&self.content);
    }
}

fn decode_stamp(bytes: &[u8; STAMP_BYTES]) -> Stamp {
    let long = |start: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[start..start + 8]);
        u64::from_le_bytes(number)
    };
    let short = |start: usize| {
        let mut number = [0; 4];
        number.copy_from_slice(&bytes[start..start + 4]);
        u32::from_le_bytes(number)
    };
    let time = |start: usize| Timestamp {
        seconds: long(start).cast_signed(),
        nanoseconds: short(start + 8),
    };
    Stamp {
        device: long(0),
        inode: long(8),
        size: long(16),
        modified: time(24),
        changed: time(36),
    }
}

fn encode_stamp(stamp: &Stamp, bytes: &mut Vec<u8>) {
    for number in [stamp.device, stamp.inode, stamp.size] {
        bytes.extend(number.to_le_bytes());
    }
    for time in [stamp.modified, stamp.changed] {
        bytes.extend(time.seconds.to_le_bytes());
        bytes.extend(time.nanoseconds.to_le_bytes());
    }
}
