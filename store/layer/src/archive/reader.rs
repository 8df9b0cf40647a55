//! A reader of untrusted archives, entry by entry.
//!
//! Formats: v7, ustar, PAX, GNU (long names, sparse files in all four forms). Where two readers
//! could disagree the archive is refused, or read as the image specification's own tools do: a
//! PAX size always wins, links and directories have no content, the first end is the end.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use tar::Header;

use super::ArchiveError;
use super::entry::{Device, Entry, EntryKind, Xattrs, checked_path};
use super::pax::{self, RecordList, clamped_seconds};
use super::sparse::{self, Cursor, SparseMap};
use super::writer::BLOCK_BYTES;

const BUFFER_BYTES: usize = 64 << 10;
const MAX_PAX_BYTES: u64 = 4 << 20;
const MAX_LONG_NAME_BYTES: u64 = 64 << 10;
const MAX_DEVICE_MAJOR: i128 = 0xfff;
const MAX_DEVICE_MINOR: i128 = 0xf_ffff;

/// Reads the entries of an archive.
pub struct LayerReader<R: Read> {
    input: BufReader<R>,
    body: Body,
    ended: bool,
}

/// The rest of the current entry in the stream.
#[derive(Default)]
struct Body {
    path: PathBuf,
    stored_left: u64,
    padding: u64,
    sparse: Option<Cursor>,
}

/// What precedes an entry's own header.
#[derive(Default)]
struct Extensions {
    records: Option<RecordList>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> LayerReader<R> {
    /// Returns a reader of the uncompressed archive `input`.
    pub fn new(input: R) -> Self {
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        Self {
            input,
            body: Body::default(),
            ended: false,
        }
    }

    /// Returns the next entry; none at the end of the archive.
    ///
    /// What was not read of the entry before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip_body()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.next_header()? else {
                return match extensions.is_empty() {
                    true => Ok(None),
                    false => Err(ArchiveError::Truncated {
                        path: PathBuf::new(),
                    }),
                };
            };
            if !self.extend(&mut extensions, &header)? {
                return self.entry(&header, extensions).map(Some);
            }
        }
    }

    /// Returns the content of the entry last returned; holes read as zeros.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { reader: self }
    }

    /// Reads the stream to its end, so that a digest covers all of it, and returns how many
    /// bytes followed. What follows the end of the archive is not looked at.
    pub fn drain(&mut self) -> Result<u64, ArchiveError> {
        self.ended = true;
        Ok(io::copy(&mut self.input, &mut io::sink())?)
    }

    fn skip_body(&mut self) -> Result<(), ArchiveError> {
        let body = std::mem::take(&mut self.body);
        let length = body.stored_left + body.padding;
        let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink())?;
        match skipped < body.stored_left {
            true => Err(ArchiveError::Truncated { path: body.path }),
            false => Ok(()),
        }
    }

    /// Returns the next header; none at a block of zeros or at the end of the stream.
    fn next_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        if self.ended || !self.read_block(header.as_mut_bytes())? {
            self.ended = true;
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        match checksum_fits(&header) {
            true => Ok(Some(header)),
            false => Err(ArchiveError::MalformedHeader {
                reason: "wrong checksum",
            }),
        }
    }

    /// Fills `block`; returns false if the stream ends before its first byte.
    fn read_block(&mut self, block: &mut [u8]) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => {
                    return Err(ArchiveError::Truncated {
                        path: PathBuf::new(),
                    });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Takes `header` as an extension of the entry to come; returns false if it is the entry's.
    fn extend(&mut self, to: &mut Extensions, header: &Header) -> Result<bool, ArchiveError> {
        let twice = || ArchiveError::MalformedHeader {
            reason: "extension header given twice",
        };
        match header.entry_type().as_byte() {
            b'x' => {
                let records = pax::parse(&self.extension(header, MAX_PAX_BYTES)?)?;
                to.records
                    .replace(records)
                    .map_or(Ok(true), |_| Err(twice()))
            }
            b'g' => {
                check_global(&pax::parse(&self.extension(header, MAX_PAX_BYTES)?)?)?;
                Ok(true)
            }
            b'L' => {
                let name = self.extension(header, MAX_LONG_NAME_BYTES)?;
                to.long_name
                    .replace(until_nul(&name).to_vec())
                    .map_or(Ok(true), |_| Err(twice()))
            }
            b'K' => {
                let link = self.extension(header, MAX_LONG_NAME_BYTES)?;
                to.long_link
                    .replace(until_nul(&link).to_vec())
                    .map_or(Ok(true), |_| Err(twice()))
            }
            _ => Ok(false),
        }
    }

    fn extension(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let size = unsigned(&header.as_old().size)?;
        if size > limit {
            return Err(ArchiveError::MalformedHeader {
                reason: "extension header too large",
            });
        }
        let mut bytes = vec![0; size.next_multiple_of(BLOCK_BYTES as u64) as usize];
        if !bytes.is_empty() && !self.read_block(&mut bytes)? {
            return Err(ArchiveError::Truncated {
                path: PathBuf::new(),
            });
        }
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, ArchiveError> {
        let mut fields = Fields::of(header)?;
        if let Some(name) = extensions.long_name {
            fields.name = name;
        }
        if let Some(link) = extensions.long_link {
            fields.link = link;
        }
        let records = extensions.records.unwrap_or_default();
        fields.override_with(&records)?;
        let path = checked_path(&fields.name)?;
        let map = self.sparse_map(header, &records, &mut fields)?;
        let kind = fields.kind(header, &path, map.as_ref())?;
        let stored = if matches!(kind, EntryKind::Regular { .. }) {
            fields.size
        } else {
            0
        };
        self.body = Body {
            path: path.clone(),
            stored_left: stored,
            padding: fields.stored_padding(stored),
            sparse: map.map(|map| map.cursor(stored)).transpose()?,
        };
        let Fields {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
            ..
        } = fields;
        Ok(Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
    }

    /// Returns the map of a sparse file. What of the content the map takes up is read.
    fn sparse_map(
        &mut self,
        header: &Header,
        records: &RecordList,
        fields: &mut Fields,
    ) -> Result<Option<SparseMap>, ArchiveError> {
        let read_block = |reader: &mut Self, block: &mut [u8]| match reader.read_block(block) {
            Ok(false) => Err(ArchiveError::Truncated {
                path: PathBuf::new(),
            }),
            other => other.map(|_| ()),
        };
        if header.entry_type().as_byte() == b'S' {
            return sparse::old_gnu(header, |block| read_block(self, block)).map(Some);
        }
        match sparse::from_records(records)? {
            sparse::InRecords::None => Ok(None),
            sparse::InRecords::Map(map) => Ok(Some(map)),
            sparse::InRecords::InContent { size } => {
                let read = |block: &mut [u8]| {
                    let left = fields.size.checked_sub(BLOCK_BYTES as u64);
                    fields.size = left.ok_or(sparse::malformed())?;
                    read_block(self, block)
                };
                sparse::from_content(size, read).map(Some)
            }
        }
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.records.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

/// Reads the content of one entry.
pub struct Content<'a, R: Read> {
    reader: &'a mut LayerReader<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let LayerReader { input, body, .. } = &mut *self.reader;
        let mut want = buffer.len();
        if let Some(cursor) = &mut body.sparse {
            match cursor.next(want) {
                sparse::Next::End => return Ok(0),
                sparse::Next::Hole(length) => {
                    buffer[..length].fill(0);
                    return Ok(length);
                }
                sparse::Next::Data(length) => want = length,
            }
        }
        let want = body.stored_left.min(want as u64) as usize;
        if want == 0 {
            return Ok(0);
        }
        let read = input.read(&mut buffer[..want])?;
        if read == 0 {
            let path = body.path.clone();
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                ArchiveError::Truncated { path },
            ));
        }
        body.stored_left -= read as u64;
        if let Some(cursor) = &mut body.sparse {
            cursor.advance(read as u64);
        }
        Ok(read)
    }
}

/// The fields of an entry after all of its headers were read.
struct Fields {
    name: Vec<u8>,
    link: Vec<u8>,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: Xattrs,
}

impl Fields {
    fn of(header: &Header) -> Result<Self, ArchiveError> {
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

    fn override_with(&mut self, records: &RecordList) -> Result<(), ArchiveError> {
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
        use std::os::unix::ffi::OsStringExt;
        if let Some(name) = key
            .strip_prefix(XATTR_PREFIX)
            .filter(|name| !name.is_empty())
        {
            let name = std::ffi::OsString::from_vec(name.to_vec());
            self.xattrs.insert(name, value.to_vec());
        }
    }

    fn kind(
        &self,
        header: &Header,
        path: &std::path::Path,
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

    fn symlink(&self, path: &std::path::Path) -> Result<EntryKind, ArchiveError> {
        use std::os::unix::ffi::OsStrExt;
        if self.link.is_empty() || self.link.contains(&0) {
            return Err(ArchiveError::BadPath {
                path: path.to_owned(),
            });
        }
        Ok(EntryKind::Symlink {
            target: std::ffi::OsStr::from_bytes(&self.link).into(),
        })
    }

    fn stored_padding(&self, stored: u64) -> u64 {
        (BLOCK_BYTES as u64 - stored % BLOCK_BYTES as u64) % BLOCK_BYTES as u64
    }
}

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// A global header speaks of all entries: it may comment, not rename or resize them.
fn check_global(records: &RecordList) -> Result<(), ArchiveError> {
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

fn until_nul(field: &[u8]) -> &[u8] {
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

fn checksum_fits(header: &Header) -> bool {
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
