//! What was known of the files of a directory after an earlier build: read by every build, so
//! it is one buffer that is looked into where it lies. Of a large one only the names of
//! directories are held; the rest stays in its file.
//!
//! A magic line and a checksum; a count, and for each directory, sorted by path: where its path
//! and its files are, and how many. Then all paths, and all files in the same order; a file is:
//! length of its name (u16), the name, device, inode, size (u64 each), two times (i64 seconds, u32
//! nanoseconds each), the digest of its content. Files are sorted by name. All numbers are
//! little-endian. Where a path comes just before its files, as it once did, that is read too.

mod files;
mod written;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Content, Scanned, Stamp};
use files::Files;

const MAGIC: &[u8] = b"kiln context index 3\n";
const HEADER_BYTES: usize = MAGIC.len() + 4 + 4;
const ROW_BYTES: usize = 16;
/// An index up to this size is held whole: to read it once is faster than to read of it for each
/// directory.
const MOST_HELD_BYTES: u64 = 8 << 20;
const PART_BYTES: usize = 128 * 1024;

/// What is known of the files of a directory.
#[derive(Debug, Default)]
pub struct Index {
    /// All of it, or what comes before the files.
    bytes: Vec<u8>,
    rows: usize,
    /// Where the files are read from if they are not held.
    file: Option<fs::File>,
}

/// The bytes are no index, or not all of it, or others than were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index of the build context is damaged")]
pub struct DamagedIndex;

struct Row {
    path: (usize, usize),
    /// Where they start, and how many.
    files: (usize, usize),
}

impl Index {
    /// Returns the index that `bytes` are.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, DamagedIndex> {
        let checked = bytes.get(MAGIC.len() + 4..).ok_or(DamagedIndex)?;
        let index = Index::of_head(bytes.get(..HEADER_BYTES).ok_or(DamagedIndex)?)?;
        if checksum_in(&bytes) != Some(libdeflater::crc32(checked)) {
            return Err(DamagedIndex);
        }
        let length = index.rows.checked_mul(ROW_BYTES);
        match length.is_some_and(|length| length <= bytes.len() - HEADER_BYTES) {
            true => Ok(Index { bytes, ..index }),
            false => Err(DamagedIndex),
        }
    }

    /// Returns the index in `file`, which nobody changes.
    ///
    /// Errors: it cannot be read. One that is damaged is `Ok(Err(_))`.
    pub fn read(file: fs::File) -> io::Result<Result<Self, DamagedIndex>> {
        Index::read_holding(file, MOST_HELD_BYTES)
    }

    /// As [`Index::read`], holding `most` bytes.
    fn read_holding(mut file: fs::File, most: u64) -> io::Result<Result<Self, DamagedIndex>> {
        let size = file.metadata()?.len();
        if size > most
            && let Some(head) = read_head(&mut file, size)?
        {
            return Ok(match sum(&mut file)? == checksum_in(&head) {
                true => Index::of_head(&head).map(|index| Index {
                    bytes: head,
                    file: Some(file),
                    ..index
                }),
                false => Err(DamagedIndex),
            });
        }
        file.rewind()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
        file.read_to_end(&mut bytes)?;
        Ok(Index::decode(bytes))
    }

    /// Returns an index without content that has as many directories as `head` says.
    fn of_head(head: &[u8]) -> Result<Self, DamagedIndex> {
        let rest = head.strip_prefix(MAGIC).ok_or(DamagedIndex)?;
        let count = rest.get(4..).and_then(<[u8]>::first_chunk::<4>);
        Ok(Index {
            rows: u32::from_le_bytes(*count.ok_or(DamagedIndex)?) as usize,
            ..Index::default()
        })
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
        Files::none()
    }

    fn files_of(&self, row: &Row) -> Files<'_> {
        let (start, count) = row.files;
        match &self.file {
            Some(file) => Files::in_file(file, start as u64, count),
            None => Files::held(self.bytes.get(start..).unwrap_or_default(), count),
        }
    }

    /// Gives the files of the directory at `path` the digests that are known of them.
    pub(super) fn fill(&self, path: &Path, scanned: &Scanned) {
        let mut known = self.files(path);
        for file in scanned.files() {
            let name = file.name().as_bytes();
            while known.peek().is_some_and(|known| known.name < name) {
                known.advance();
            }
            let Some(found) = known.peek() else { break };
            if found.name == name && found.stamp == file.stamp() {
                file.learn(found.content);
            }
        }
    }

    /// Returns what is known of the files of the directory at `path`, by name.
    pub(super) fn known(&self, path: &Path) -> HashMap<Vec<u8>, (Stamp, Content)> {
        let mut known = HashMap::new();
        let mut files = self.files(path);
        while let Some(file) = files.peek() {
            known.insert(file.name.to_vec(), (file.stamp, file.content));
            files.advance();
        }
        known
    }
}

/// Returns all that comes before the files; nothing if they do not lie at the end.
fn read_head(file: &mut fs::File, size: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut read_to = |end: usize, bytes: &mut Vec<u8>| -> io::Result<bool> {
        let missing = end.saturating_sub(bytes.len()) as u64;
        (&mut *file).take(missing).read_to_end(bytes)?;
        Ok(bytes.len() == end)
    };
    if !read_to(HEADER_BYTES, &mut bytes)? {
        return Ok(None);
    }
    let Ok(mut index) = Index::of_head(&bytes) else {
        return Ok(None);
    };
    let rows_end = HEADER_BYTES as u64 + index.rows as u64 * ROW_BYTES as u64;
    if rows_end > size || !read_to(rows_end as usize, &mut bytes)? {
        return Ok(None);
    }
    index.bytes = bytes;
    let rows = (0..index.rows).filter_map(|place| index.row(place));
    let (mut paths_bytes, mut first_file) = (0, size);
    for row in rows {
        paths_bytes += row.path.1 as u64;
        first_file = first_file.min(row.files.0 as u64);
    }
    let mut bytes = index.bytes;
    let is_last = rows_end + paths_bytes == first_file && first_file <= size;
    Ok((is_last && read_to(first_file as usize, &mut bytes)?).then_some(bytes))
}

/// Returns the checksum that an index which begins with `bytes` says it has.
fn checksum_in(bytes: &[u8]) -> Option<u32> {
    let told = bytes.get(MAGIC.len()..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*told))
}

/// Returns the checksum of what an index holds; nothing of what is shorter than its start.
fn sum(file: &mut fs::File) -> io::Result<Option<u32>> {
    file.seek(SeekFrom::Start(MAGIC.len() as u64 + 4))?;
    let mut sum = libdeflater::Crc::new();
    let mut part = vec![0; PART_BYTES];
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(Some(sum.sum())),
            Ok(read) => sum.update(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
