//! A canonical archive writer: equal entries, equal bytes.
//!
//! Headers are ustar with whole seconds, without names of users and groups, and without access
//! and change times; a PAX header precedes an entry only where ustar has no room for it.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{EntryType, Header};

use super::ArchiveError;
use super::entry::{Device, Entry, EntryKind};
use super::pax::{self, Records};

pub(super) const BLOCK_BYTES: usize = 512;
/// What an archive ends with.
pub(crate) const ARCHIVE_END: &[u8] = &[0; 2 * BLOCK_BYTES];
const NAME_BYTES: usize = 100;
const MAX_OCTAL_7: u64 = 0o7_777_777;
const MAX_OCTAL_11: u64 = 0o77_777_777_777;
const COPY_BUFFER_BYTES: usize = 128 << 10;

/// Writes entries in the caller's order.
pub struct LayerWriter<W: Write> {
    output: W,
    buffer: Vec<u8>,
}

impl<W: Write> LayerWriter<W> {
    /// Returns a writer of an archive to `output`.
    pub fn new(output: W) -> Self {
        Self {
            output,
            buffer: Vec::new(),
        }
    }

    /// Writes `entry` and, if it is a regular file, its content, which must have its size.
    pub fn append(&mut self, entry: &Entry, content: impl Read) -> Result<(), ArchiveError> {
        self.append_header(entry)?;
        match entry.kind {
            EntryKind::Regular { size } => self.write_content(&entry.path, size, content),
            _ => Ok(()),
        }
    }

    /// Writes `entry`, a regular file, whose content `write` writes to the output by itself; it
    /// returns how many bytes that were.
    pub fn append_written(
        &mut self,
        entry: &Entry,
        write: impl FnOnce(&mut W) -> io::Result<u64>,
    ) -> Result<(), ArchiveError> {
        self.append_header(entry)?;
        let written = write(&mut self.output)?;
        match entry.kind {
            EntryKind::Regular { size } if size == written => self.pad(size),
            EntryKind::Regular { size } => Err(wrong_size(&entry.path, size)),
            _ => Err(wrong_size(&entry.path, 0)),
        }
    }

    /// Writes all of `entry` but its content, which follows with its [`padding`].
    pub(crate) fn append_header(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        let fields = Fields::of(entry);
        let records = fields.records(entry);
        if !records.is_empty() {
            self.write_pax(&records)?;
        }
        self.output.write_all(
            fields
                .header(entry, EntryType::new(fields.letter))
                .as_bytes(),
        )?;
        Ok(())
    }

    /// Writes an empty regular file that stands for a deletion.
    pub fn append_whiteout(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let entry = Entry {
            path: path.to_owned(),
            kind: EntryKind::Regular { size: 0 },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: Default::default(),
        };
        self.append(&entry, io::empty())
    }

    /// Writes the end of the archive and returns the output.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        self.output.write_all(ARCHIVE_END)?;
        Ok(self.output)
    }

    fn write_pax(&mut self, records: &Records) -> Result<(), ArchiveError> {
        let mut body = Vec::new();
        for (key, value) in records {
            pax::write_record(&mut body, key, value);
        }
        let mut header = Header::new_ustar();
        copy_into(&mut header.as_old_mut().name, b"PaxHeaders.0/entry");
        header.set_entry_type(EntryType::XHeader);
        header.set_size(body.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_mode(0o644);
        header.set_cksum();
        self.output.write_all(header.as_bytes())?;
        self.output.write_all(&body)?;
        self.pad(body.len() as u64)
    }

    fn write_content(
        &mut self,
        path: &Path,
        size: u64,
        content: impl Read,
    ) -> Result<(), ArchiveError> {
        let (mut left, mut content) = (size, content);
        self.buffer.resize(COPY_BUFFER_BYTES, 0);
        while left > 0 {
            let want = left.min(self.buffer.len() as u64) as usize;
            let read = content.read(&mut self.buffer[..want])?;
            if read == 0 {
                return Err(wrong_size(path, size));
            }
            self.output.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), ArchiveError> {
        Ok(self.output.write_all(padding(size))?)
    }
}

fn wrong_size(path: &Path, expected: u64) -> ArchiveError {
    ArchiveError::ContentSize {
        path: path.to_owned(),
        expected,
    }
}

/// Returns the zeros that follow `size` bytes of content.
pub(crate) fn padding(size: u64) -> &'static [u8] {
    let length = size.next_multiple_of(BLOCK_BYTES as u64) - size;
    &[0; BLOCK_BYTES][..length as usize]
}

/// What of an entry goes into the fields of a ustar header.
struct Fields<'a> {
    name: Vec<u8>,
    link: &'a [u8],
    size: u64,
    letter: u8,
    device: Option<Device>,
}

impl<'a> Fields<'a> {
    fn of(entry: &'a Entry) -> Self {
        let mut name = entry.path.as_os_str().as_bytes().to_vec();
        let none: &[u8] = b"";
        let (letter, link, size, device) = match &entry.kind {
            EntryKind::Regular { size } => (b'0', none, *size, None),
            EntryKind::HardLink { target } => (b'1', target.as_os_str().as_bytes(), 0, None),
            EntryKind::Symlink { target } => (b'2', target.as_os_str().as_bytes(), 0, None),
            EntryKind::CharacterDevice(device) => (b'3', none, 0, Some(*device)),
            EntryKind::BlockDevice(device) => (b'4', none, 0, Some(*device)),
            EntryKind::Directory => {
                name.extend_from_slice(if name.is_empty() { b"./" } else { b"/" });
                (b'5', none, 0, None)
            }
            EntryKind::Fifo => (b'6', none, 0, None),
        };
        Self {
            name,
            link,
            size,
            letter,
            device,
        }
    }

    /// Returns the PAX records for what ustar has no room for, by key.
    fn records(&self, entry: &Entry) -> Records {
        let mut records = Records::new();
        let mut put = |key: &[u8], value: Vec<u8>| records.insert(key.to_vec(), value);
        let long = |bytes: &[u8]| bytes.len() > NAME_BYTES;
        if long(&self.name) {
            put(b"path", self.name.clone());
        }
        if long(self.link) {
            put(b"linkpath", self.link.to_vec());
        }
        for (key, value, limit) in [
            ("size", self.size, MAX_OCTAL_11),
            ("uid", entry.uid.into(), MAX_OCTAL_7),
            ("gid", entry.gid.into(), MAX_OCTAL_7),
        ] {
            if value > limit {
                put(key.as_bytes(), value.to_string().into_bytes());
            }
        }
        if octal_time(entry.mtime).is_none() {
            put(b"mtime", entry.mtime.to_string().into_bytes());
        }
        for (name, value) in &entry.xattrs {
            put(
                &[b"SCHILY.xattr.", OsStr::as_bytes(name)].concat(),
                value.clone(),
            );
        }
        records
    }

    fn header(&self, entry: &Entry, kind: EntryType) -> Header {
        let or_zero = |value: u64, limit| if value > limit { 0 } else { value };
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        copy_into(&mut old.name, &self.name);
        copy_into(&mut old.linkname, self.link);
        header.set_entry_type(kind);
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(or_zero(entry.uid.into(), MAX_OCTAL_7));
        header.set_gid(or_zero(entry.gid.into(), MAX_OCTAL_7));
        header.set_size(or_zero(self.size, MAX_OCTAL_11));
        header.set_mtime(octal_time(entry.mtime).unwrap_or(0));
        if let (Some(device), Some(ustar)) = (self.device, header.as_ustar_mut()) {
            ustar.set_device_major(device.major);
            ustar.set_device_minor(device.minor);
        }
        header.set_cksum();
        header
    }
}

fn octal_time(seconds: i64) -> Option<u64> {
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= MAX_OCTAL_11)
}

/// Copies as much as fits; what does not fit stands in a PAX record.
fn copy_into(field: &mut [u8], bytes: &[u8]) {
    let length = field.len().min(bytes.len());
    field[..length].copy_from_slice(&bytes[..length]);
}
