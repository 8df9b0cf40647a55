//! The bytes of a stat index: read on every build, so they are made to be read fast.
//!
//! A magic line, then an entry per file: length of the path (u32), the path, device, inode,
//! size (u64 each), two times (i64 seconds, u32 nanoseconds each), the SHA-256 digest. All
//! numbers are little-endian. An index that is not of this form is none.

use super::{Known, Stamp};
use kiln_oci::Digest;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"kiln stat index 1\n";

/// Returns the bytes of an index of `entries`. A digest of another algorithm is left out.
pub(super) fn encode<'a>(entries: impl Iterator<Item = (&'a PathBuf, &'a Known)>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (path, known) in entries {
        let length = u32::try_from(path.as_os_str().len()).ok();
        if let Some((length, digest)) = length.zip(digest_bytes(&known.digest)) {
            bytes.extend(length.to_le_bytes());
            bytes.extend(path.as_os_str().as_bytes());
            encode_stamp(&mut bytes, &known.stamp);
            bytes.extend(digest);
        }
    }
    bytes
}

fn encode_stamp(bytes: &mut Vec<u8>, stamp: &Stamp) {
    for number in [stamp.device, stamp.inode, stamp.size] {
        bytes.extend(number.to_le_bytes());
    }
    for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
        bytes.extend(seconds.to_le_bytes());
        bytes.extend(nanoseconds.to_le_bytes());
    }
}

fn digest_bytes(digest: &Digest) -> Option<[u8; 32]> {
    let hex = digest.hex().as_bytes();
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Returns the entries of the index that `bytes` are.
pub(super) fn decode(bytes: &[u8]) -> Option<HashMap<PathBuf, Known>> {
    let mut rest = Rest(bytes.strip_prefix(MAGIC)?);
    let mut entries = HashMap::new();
    while !rest.0.is_empty() {
        let length = usize::try_from(u32::from_le_bytes(rest.array()?)).ok()?;
        let path = Path::new(OsStr::from_bytes(rest.take(length)?)).to_owned();
        let stamp = rest.stamp()?;
        let digest = Digest::from_sha256(rest.array()?);
        entries.insert(path, Known { stamp, digest });
    }
    Some(entries)
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.take(LENGTH)?.try_into().ok()
    }

    fn time(&mut self) -> Option<(i64, u32)> {
        Some((
            i64::from_le_bytes(self.array()?),
            u32::from_le_bytes(self.array()?),
        ))
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            device: u64::from_le_bytes(self.array()?),
            inode: u64::from_le_bytes(self.array()?),
            size: u64::from_le_bytes(self.array()?),
            modified: self.time()?,
            changed: self.time()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> HashMap<PathBuf, Known> {
        let stamp = Stamp {
            device: 1,
            inode: 2,
            size: 3,
            modified: (-4, 5),
            changed: (6, 7),
        };
        let digest = Digest::sha256(b"content");
        let path = PathBuf::from(OsStr::from_bytes(b"a/\xff.c"));
        HashMap::from([(path, Known { stamp, digest })])
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let entries = entries();
        assert!(decode(&encode(entries.iter())) == Some(entries));
    }

    #[test]
    fn cut_and_foreign_bytes_are_no_index() {
        let bytes = encode(entries().iter());
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
        assert!(decode(b"[]").is_none());
        assert!(decode(MAGIC) == Some(HashMap::new()));
    }
}
