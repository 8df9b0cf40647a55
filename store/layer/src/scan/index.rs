//! What was known of the files of a directory after an earlier build: read by every build, so
//! it is one buffer that is looked into where it lies.
//!
//! A magic line and a checksum; a count, and for each directory, sorted by path: where its path
//! and its files are, and how many. Then paths and files; a file is: length of its name (u16),
//! the name, device, inode, size (u64 each), two times (i64 seconds, u32 nanoseconds each), the
//! digest of its content. Files are sorted by name. All numbers are little-endian.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Content, Scanned, Stamp};
use crate::tree::Timestamp;

const MAGIC: &[u8] = b"kiln context index 3\n";
const HEADER_BYTES: usize = MAGIC.len() + 4 + 4;
const ROW_BYTES: usize = 16;
const STAMP_BYTES: usize = 48;
const CONTENT_BYTES: usize = 32;

/// What is known of the files of a directory.
#[derive(Debug, Default)]
pub struct Index {
    bytes: Vec<u8>,
    rows: usize,
}

/// The bytes are no index, or not all of it, or others than were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index of the build context is damaged")]
pub struct DamagedIndex;

struct Row {
    path: (usize, usize),
    files: (usize, usize),
}

struct File<'a> {
    name: &'a [u8],
    stamp: Stamp,
    content: Content,
}

impl Index {
    /// Returns the index that `bytes` are.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, DamagedIndex> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DamagedIndex)?;
        let (checksum, rest) = rest.split_first_chunk::<4>().ok_or(DamagedIndex)?;
        if u32::from_le_bytes(*checksum) != libdeflater::crc32(rest) {
            return Err(DamagedIndex);
        }
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(DamagedIndex)?;
        let rows = u32::from_le_bytes(*count) as usize;
        match rows
            .checked_mul(ROW_BYTES)
            .is_some_and(|length| length <= rest.len())
        {
            true => Ok(Index { bytes, rows }),
            false => Err(DamagedIndex),
        }
    }

    fn row(&self, place: usize) -> Option<Row> {
        let start = HEADER_BYTES + place * ROW_BYTES;
        let number = |offset: usize| {
            let bytes = self.bytes.get(start + offset..start + offset + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
        };
        Some(Row {
            path: (number(0)?, number(4)?),
            files: (number(8)?, number(12)?),
        })
    }

    fn path(&self, row: &Row) -> &[u8] {
        let (start, length) = row.path;
        self.bytes
            .get(start..start.saturating_add(length))
            .unwrap_or_default()
    }

    /// Returns the files that are known of the directory at `path`, sorted by name.
    fn files(&self, path: &Path) -> Files<'_> {
        let wanted = path.as_os_str().as_bytes();
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(row) = self.row(middle) else { break };
            match self.path(&row).cmp(wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.files_of(&row),
            }
        }
        Files {
            rest: &[],
            count: 0,
        }
    }

    fn files_of(&self, row: &Row) -> Files<'_> {
        Files {
            rest: self.bytes.get(row.files.0..).unwrap_or_default(),
            count: row.files.1,
        }
    }

    /// Gives the files of the directory at `path` the digests that are known of them.
    pub(super) fn fill(&self, path: &Path, scanned: &Scanned) {
        let mut known = self.files(path).peekable();
        for entry in &scanned.entries {
            let name = scanned.name(entry);
            while known.next_if(|file| file.name < name).is_some() {}
            if let Some(file) = known.next_if(|file| file.name == name)
                && file.stamp == Stamp::of(&entry.metadata)
            {
                // What is there already is the same.
                let _ = entry.content.set(file.content);
            }
        }
    }

    /// Returns what is known of the files of the directory at `path`, by name.
    pub(super) fn known(&self, path: &Path) -> HashMap<Vec<u8>, (Stamp, Content)> {
        let files = self.files(path);
        files
            .map(|file| (file.name.to_vec(), (file.stamp, file.content)))
            .collect()
    }

    /// Returns the bytes of an index of what was seen of `directories` and `singles`, and of
    /// what was known of directories that were not looked at.
    pub(super) fn updated(
        &self,
        directories: &HashMap<PathBuf, Arc<Scanned>>,
        singles: &HashMap<PathBuf, (Stamp, Content)>,
    ) -> Vec<u8> {
        let mut all = Known::new();
        let mut seen = singles.len();
        for (path, scanned) in directories {
            let files = all.entry(path.as_os_str().as_bytes()).or_default();
            for entry in &scanned.entries {
                let stamp = Stamp::of(&entry.metadata);
                if let (Some(content), true) = (entry.content.get(), stamp.is_settled()) {
                    files.insert(scanned.name(entry), (stamp, *content));
                }
            }
            seen += files.len();
        }
        // What other Dockerfiles of the same context read is kept, within reason.
        let mut kept = 0;
        for row in (0..self.rows).filter_map(|place| self.row(place)) {
            let path = self.path(&row);
            let is_looked_at =
                directories.contains_key(Path::new(std::ffi::OsStr::from_bytes(path)));
            if !is_looked_at && kept + row.files.1 <= seen.max(MOST_KEPT) {
                kept += row.files.1;
                let files = all.entry(path).or_default();
                files.extend(
                    self.files_of(&row)
                        .map(|file| (file.name, (file.stamp, file.content))),
                );
            }
        }
        for (path, (stamp, content)) in singles.iter().filter(|(_, (stamp, _))| stamp.is_settled())
        {
            let above = path
                .parent()
                .unwrap_or(Path::new(""))
                .as_os_str()
                .as_bytes();
            let name = path.file_name().unwrap_or_default().as_bytes();
            all.entry(above)
                .or_default()
                .insert(name, (*stamp, *content));
        }
        encode(&all)
    }
}

/// Files that are kept of directories that were not looked at, at least.
const MOST_KEPT: usize = 10_000;

/// The files of a directory, one after the other.
struct Files<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Iterator for Files<'a> {
    type Item = File<'a>;

    fn next(&mut self) -> Option<File<'a>> {
        self.count = self.count.checked_sub(1)?;
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (name, rest) = rest.split_at_checked(length)?;
        let (stamp, rest) = rest.split_first_chunk::<STAMP_BYTES>()?;
        let (content, rest) = rest.split_first_chunk::<CONTENT_BYTES>()?;
        self.rest = rest;
        Some(File {
            name,
            stamp: decode_stamp(stamp),
            content: *content,
        })
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

type Known<'a> = BTreeMap<&'a [u8], BTreeMap<&'a [u8], (Stamp, Content)>>;

/// Returns the bytes of an index. One of more than four gigabytes is empty instead.
fn encode(all: &Known<'_>) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut data = Vec::new();
    let start = HEADER_BYTES + all.len() * ROW_BYTES;
    for (path, files) in all {
        let path_start = start + data.len();
        data.extend_from_slice(path);
        let files_start = start + data.len();
        for (name, (stamp, content)) in files {
            // Names have 255 bytes at most.
            data.extend((name.len() as u16).to_le_bytes());
            data.extend_from_slice(name);
            encode_stamp(stamp, &mut data);
            data.extend_from_slice(content);
        }
        for number in [path_start, path.len(), files_start, files.len()] {
            rows.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    if start + data.len() > u32::MAX as usize {
        return encode(&Known::new());
    }
    let mut rest = (all.len() as u32).to_le_bytes().to_vec();
    rest.append(&mut rows);
    rest.append(&mut data);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(libdeflater::crc32(&rest).to_le_bytes());
    bytes.append(&mut rest);
    bytes
}
