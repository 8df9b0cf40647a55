//! Sparse files: which parts of a file an archive holds; the rest are holes.
//!
//! GNU tar has four forms: the old one in the header, and three in PAX records, of which the
//! last keeps its map in front of the content. Source: GNU tar manual, "Sparse Formats".

use tar::Header;

use super::ArchiveError;
use super::header::unsigned;
use super::pax::{self, RecordList};

use super::writer::BLOCK_BYTES;

/// Which parts are held, in ascending order.
#[derive(Debug)]
pub(super) struct SparseMap {
    segments: Vec<Segment>,
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    length: u64,
}

/// What PAX records tell of a sparse file.
pub(super) enum InRecords {
    /// It is none.
    None,
    /// Here is its map.
    Map(SparseMap),
    /// Its map precedes its content.
    InContent {
        /// The file's length with holes.
        size: u64,
    },
}

const MAX_SEGMENTS: usize = 1 << 20;

pub(super) fn malformed() -> ArchiveError {
    ArchiveError::MalformedHeader {
        reason: "malformed map of a sparse file",
    }
}

impl SparseMap {
    /// Returns the file's length with holes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the place before the first byte; `stored` bytes are held.
    pub(super) fn cursor(self, stored: u64) -> Result<Cursor, ArchiveError> {
        let (mut end, mut sum) = (0u64, 0u64);
        for segment in &self.segments {
            if segment.offset < end {
                return Err(malformed());
            }
            end = segment
                .offset
                .checked_add(segment.length)
                .ok_or_else(malformed)?;
            sum = sum.checked_add(segment.length).ok_or_else(malformed)?;
        }
        match end <= self.size && sum == stored {
            true => Ok(Cursor {
                map: self,
                index: 0,
                position: 0,
            }),
            false => Err(malformed()),
        }
    }
}

/// A place in a sparse file that is read.
pub(super) struct Cursor {
    map: SparseMap,
    index: usize,
    position: u64,
}

/// What comes next in a sparse file.
pub(super) enum Next {
    /// Nothing.
    End,
    /// This many zeros, already counted.
    Hole(usize),
    /// At most this many bytes that are held; counted by [`Cursor::advance`].
    Data(usize),
}

impl Cursor {
    pub(super) fn next(&mut self, want: usize) -> Next {
        let segments = &self.map.segments;
        let over = |segment: &Segment| segment.offset + segment.length <= self.position;
        while segments.get(self.index).is_some_and(over) {
            self.index += 1;
        }
        let (start, end) = match segments.get(self.index) {
            Some(segment) => (segment.offset, segment.offset + segment.length),
            None => (self.map.size, self.map.size),
        };
        let length = |left: u64| left.min(want as u64) as usize;
        if self.position < start {
            let length = length(start - self.position);
            self.position += length as u64;
            return Next::Hole(length);
        }
        match self.position < end {
            true => Next::Data(length(end - self.position)),
            false => Next::End,
        }
    }

    pub(super) fn advance(&mut self, read: u64) {
        self.position += read;
    }
}

/// Returns the map of a file in the old GNU form; `read_block` gives the header's continuations.
pub(super) fn old_gnu(
    header: &Header,
    mut read_block: impl FnMut(&mut [u8]) -> Result<(), ArchiveError>,
) -> Result<SparseMap, ArchiveError> {
    let bytes = header.as_bytes();
    let size = unsigned(&bytes[483..495])?;
    let mut segments = Vec::new();
    push_segments(&mut segments, &bytes[386..482])?;
    let mut extended = bytes[482] == 1;
    while extended {
        let mut block = [0; BLOCK_BYTES];
        read_block(&mut block)?;
        push_segments(&mut segments, &block[..504])?;
        extended = block[504] == 1;
    }
    Ok(SparseMap { segments, size })
}

fn push_segments(segments: &mut Vec<Segment>, fields: &[u8]) -> Result<(), ArchiveError> {
    for pair in fields.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        push(segments, unsigned(&pair[..12])?, unsigned(&pair[12..])?)?;
    }
    Ok(())
}

fn push(segments: &mut Vec<Segment>, offset: u64, length: u64) -> Result<(), ArchiveError> {
    if segments.len() >= MAX_SEGMENTS {
        return Err(malformed());
    }
    segments.push(Segment { offset, length });
    Ok(())
}

/// Returns what `records` tell of a sparse file.
pub(super) fn from_records(records: &RecordList) -> Result<InRecords, ArchiveError> {
    let get = |key: &str| {
        let found = records
            .iter()
            .rev()
            .find(|(name, _)| name == key.as_bytes());
        found.map(|(_, value)| value.as_slice())
    };
    let decimal = |value: Option<&[u8]>| pax::decimal(value.ok_or_else(malformed)?);
    if let Some(major) = get("GNU.sparse.major") {
        return match (major, get("GNU.sparse.minor")) {
            (b"1", Some(b"0")) => Ok(InRecords::InContent {
                size: decimal(get("GNU.sparse.realsize"))?,
            }),
            _ => Err(malformed()),
        };
    }
    if get("GNU.sparse.size").is_none() && get("GNU.sparse.map").is_none() {
        return Ok(InRecords::None);
    }
    let size = decimal(get("GNU.sparse.size"))?;
    let segments = match get("GNU.sparse.map") {
        Some(map) => segments_of_map(map)?,
        None => segments_of_records(records)?,
    };
    Ok(InRecords::Map(SparseMap { segments, size }))
}

fn segments_of_map(map: &[u8]) -> Result<Vec<Segment>, ArchiveError> {
    let mut segments = Vec::new();
    let mut numbers = map
        .split(|byte| *byte == b',')
        .filter(|number| !number.is_empty());
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or_else(malformed)?;
        push(&mut segments, pax::decimal(offset)?, pax::decimal(length)?)?;
    }
    Ok(segments)
}

fn segments_of_records(records: &RecordList) -> Result<Vec<Segment>, ArchiveError> {
    let mut segments = Vec::new();
    let mut offset = None;
    for (key, value) in records {
        match key.as_slice() {
            b"GNU.sparse.offset" => offset = Some(pax::decimal(value)?),
            b"GNU.sparse.numbytes" => {
                push(
                    &mut segments,
                    offset.take().ok_or_else(malformed)?,
                    pax::decimal(value)?,
                )?;
            }
            _ => {}
        }
    }
    Ok(segments)
}

/// Returns the map that precedes a file's content: a count, then offsets and lengths, one in a
/// line, filled up to whole blocks.
pub(super) fn from_content(
    size: u64,
    mut read_block: impl FnMut(&mut [u8]) -> Result<(), ArchiveError>,
) -> Result<SparseMap, ArchiveError> {
    let (mut block, mut used) = ([0; BLOCK_BYTES], BLOCK_BYTES);
    let mut next_number = || -> Result<u64, ArchiveError> {
        let mut digits = Vec::new();
        loop {
            if used == BLOCK_BYTES {
                read_block(&mut block)?;
                used = 0;
            }
            let byte = block[used];
            used += 1;
            match byte {
                b'\n' => return pax::decimal(&digits),
                _ if digits.len() < 20 => digits.push(byte),
                _ => return Err(malformed()),
            }
        }
    };
    let mut segments = Vec::new();
    for _ in 0..next_number()? {
        push(&mut segments, next_number()?, next_number()?)?;
    }
    Ok(SparseMap { segments, size })
}
