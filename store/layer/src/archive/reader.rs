//! A reader of untrusted archives, entry by entry.
//!
//! Formats: v7, ustar, PAX, GNU (long names, sparse files in all four forms). Where two readers
//! could disagree the archive is refused, or read as the image specification's own tools do: a
//! PAX size always wins, links and directories have no content, the first end is the end.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use tar::Header;

use super::ArchiveError;
use super::entry::{Entry, EntryKind, checked_path};
use super::header::{Fields, check_global, checksum_fits, unsigned, until_nul};
use super::pax::{self, RecordList};
use super::sparse::{self, Cursor, SparseMap};
use super::writer::BLOCK_BYTES;

const BUFFER_BYTES: usize = 64 << 10;
const MAX_PAX_BYTES: u64 = 4 << 20;
const MAX_LONG_NAME_BYTES: u64 = 64 << 10;

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
