//! The fields of one header block, and of an entry after all of its headers were read.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use tar::Header;

use super::ArchiveError;
use super::entry::{Device, EntryKind, Xattrs, checked_path};
use super::pax::{self, RecordList, clamped_seconds};
use super::sparse::SparseMap;
use super::writer::BLOCK_BYTES;

const MAX_DEVICE_MAJOR: i128 = 0xfff;
const MAX_DEVICE_MINOR: i128 = 0xf_ffff;

/// The fields of an entry after all of its headers were read.
pub(super) struct Fields {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) xattrs: Xattrs,
}

impl Fields {
    pub(super) fn of(header: &Header) -> Result<Self, ArchiveError> {
        let old = header.as_old();
        let mtime = number(&old.mtime)?.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Ok(Self {
            name: header_name(header),
            link: until_nul(&old.linkname).to_vec(),
            size: unsigned(&old.size)?,
            mode: (number(&old.mode)? & 0o7777) as u32,
            uid: owner(number(&old.uid)?)?,
            gid: owner(number(&old.gid)?)?,
            mtime: clamped_seconds(mtime),
            xattrs: Xattrs::new(),
        })
    }

    pub(super) fn override_with(&mut self, records: &RecordList) -> Result<(), ArchiveError> {
        // The path of a sparse file is made up for readers that do not know the form.
        let sparse_name = records.iter().any(|(key, _)| key == b"GNU.sparse.name");
        for (key, value) in records {
            match key.as_slice() {
                b"path" if sparse_name => {}
                // A record without value takes back an earlier one; there is none to take back.
                _ if value.is_empty() && !key.starts_with(XATTR_PREFIX) => {}
                b"path" | b"GNU.sparse.name" => self.name.clone_from(value),
                b"linkpath" => self.link.clone_from(value),
                b"size" => self.size = pax::decimal(value)?,
                b"uid" => self.uid = owner(pax::decimal(value)?.into())?,
                b"gid" => self.gid = owner(pax::decimal(value)?.into())?,
                b"mtime" => self.mtime = pax::seconds(value)?,
                key => self.take_xattr(key, value),
            }
        }
        Ok(())
    }

    fn take_xattr(&mut self, key: &[u8], value: &[u8]) {
        if let Some(name) = key
            .strip_prefix(XATTR_PREFIX)
            .filter(|name| !name.is_empty())
        {
            let name = OsString::from_vec(name.to_vec());
            self.xattrs.insert(name, value.to_vec());
        }
    }

    pub(super) fn kind(
        &self,
        header: &Header,
        path: &Path,
        map: Option<&SparseMap>,
    ) -> Result<EntryKind, ArchiveError> {
        let letter = header.entry_type().as_byte();
        let size = map.map_or(self.size, SparseMap::size);
        match letter {
            // Before ustar a directory was a file with a slash behind its name.
            b'\0' | b'0' if self.name.ends_with(b"/") && map.is_none() => Ok(EntryKind::Directory),
            b'\0' | b'0' | b'7' | b'S' => Ok(EntryKind::Regular { size }),
            b'1' => Ok(EntryKind::HardLink {
                target: checked_path(&self.link)?,
            }),
            b'2' => self.symlink(path),
            b'3' => Ok(EntryKind::CharacterDevice(device(header)?)),
            b'4' => Ok(EntryKind::BlockDevice(device(header)?)),
            b'5' => Ok(EntryKind::Directory),
            b'6' => Ok(EntryKind::Fifo),
            other => {
                let path = path.to_owned();
                Err(ArchiveError::UnsupportedType {
                    path,
                    kind: char::from(other),
                })
            }
        }
    }

    fn symlink(&self, path: &Path) -> Result<EntryKind, ArchiveError> {
        if self.link.is_empty() || self.link.contains(&0) {
            return Err(ArchiveError::BadPath {
                path: path.to_owned(),
            });
        }
        Ok(EntryKind::Symlink {
            target: OsStr::from_bytes(&self.link).into(),
        })
    }

    pub(super) fn stored_padding(&self, stored: u64) -> u64 {
        (BLOCK_BYTES as u64 - stored % BLOCK_BYTES as u64) % BLOCK_BYTES as u64
    }
}

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// A global header speaks of all entries: it may comment, not rename or resize them.
pub(super) fn check_global(records: &RecordList) -> Result<(), ArchiveError> {
    let dangerous = |key: &[u8]| {
        matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse")
    };
    match records.iter().any(|(key, _)| dangerous(key)) {
        true => Err(ArchiveError::MalformedPax {
            reason: "global header changes entries",
        }),
        false => Ok(()),
    }
}

fn header_name(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    match header.as_ustar().map(|ustar| until_nul(&ustar.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn owner(id: i128) -> Result<u32, ArchiveError> {
    // The largest number means "nobody in particular" to the kernel.
    let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    id.ok_or(ArchiveError::MalformedHeader {
        reason: "owner out of range",
    })
}

fn device(header: &Header) -> Result<Device, ArchiveError> {
    let bytes = header.as_bytes();
    let (major, minor) = (number(&bytes[329..337])?, number(&bytes[337..345])?);
    if !(0..=MAX_DEVICE_MAJOR).contains(&major) || !(0..=MAX_DEVICE_MINOR).contains(&minor) {
        return Err(ArchiveError::MalformedHeader {
            reason: "device number out of range",
        });
    }
    Ok(Device {
        major: major as u32,
        minor: minor as u32,
    })
}

pub(super) fn unsigned(field: &[u8]) -> Result<u64, ArchiveError> {
    let reason = "size out of range";
    let value = u64::try_from(number(field)?)
        .ok()
        .filter(|size| *size <= i64::MAX as u64);
    value.ok_or(ArchiveError::MalformedHeader { reason })
}

/// Returns the number in `field` of at most 12 bytes: octal digits, or base 256 with its first bit set.
fn number(field: &[u8]) -> Result<i128, ArchiveError> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        let negative = field[0] & 0x40 != 0;
        let start: i128 = if negative { -1 } else { 0 };
        let first = if negative { field[0] } else { field[0] & 0x7f };
        let rest = field[1..]
            .iter()
            .fold((start << 8) | i128::from(first), |value, byte| {
                (value << 8) | i128::from(*byte)
            });
        return Ok(rest);
    }
    let digits = until_nul(field).trim_ascii();
    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'7')) {
        return Err(ArchiveError::MalformedHeader {
            reason: "number with other bytes than digits",
        });
    }
    Ok(digits
        .iter()
        .fold(0, |value, digit| value * 8 + i128::from(digit - b'0')))
}

pub(super) fn checksum_fits(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let Ok(told) = number(&bytes[148..156]) else {
        return false;
    };
    let blanked = |index: usize| {
        if (148..156).contains(&index) {
            b' '
        } else {
            bytes[index]
        }
    };
    let unsigned: i128 = (0..BLOCK_BYTES)
        .map(|index| i128::from(blanked(index)))
        .sum();
    // Old writers summed signed bytes.
    let signed: i128 = (0..BLOCK_BYTES)
        .map(|index| i128::from(blanked(index) as i8))
        .sum();
    told == unsigned || told == signed
}

/// Returns whether a file that begins with `first_bytes` (at least 512) can be an archive.
pub fn looks_like_tar(first_bytes: &[u8]) -> bool {
    let Some(block) = first_bytes.get(..BLOCK_BYTES) else {
        return false;
    };
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    checksum_fits(&header) && block.iter().any(|byte| *byte != 0)
}
