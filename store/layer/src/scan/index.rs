//! What was known of the files of a directory after an earlier build: read by every build, so
//! it is one buffer that is looked into where it lies.
//!
//! A magic line and a checksum; a count, and for each directory, sorted by path: where its path
//! and its files are, and how many. Then paths and files; a file is: length of its name (u16),
//! the name, device, inode, size (u64 each), two times (i64 seconds, u32 nanoseconds each), the
//! digest of its content. Files are sorted by name. All numbers are little-endian.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Content, Scanned, Stamp, stamp};
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
    /// what was known of directories that were not looked at. One of more than four gigabytes is
    /// empty instead.
    pub(super) fn updated(
        &self,
        directories: &HashMap<PathBuf, Arc<Scanned>>,
        singles: &HashMap<PathBuf, (Stamp, Content)>,
    ) -> Vec<u8> {
        self.updated_at(directories, singles, stamp::now())
    }

    fn updated_at(
        &self,
        directories: &HashMap<PathBuf, Arc<Scanned>>,
        singles: &HashMap<PathBuf, (Stamp, Content)>,
        now: i128,
    ) -> Vec<u8> {
        let singles = by_directory(singles, now);
        let mut all: Vec<(&[u8], Known<'_>)> = Vec::with_capacity(directories.len());
        let mut seen: usize = singles.values().map(BTreeMap::len).sum();
        for (path, scanned) in directories {
            seen += scanned.entries.len();
            all.push((path.as_os_str().as_bytes(), Known::Seen(scanned)));
        }
        // What other Dockerfiles of the same context read is kept, within reason.
        let mut kept = 0;
        for row in (0..self.rows).filter_map(|place| self.row(place)) {
            let path = self.path(&row);
            let is_looked_at =
                directories.contains_key(Path::new(std::ffi::OsStr::from_bytes(path)));
            if !is_looked_at && kept + row.files.1 <= seen.max(MOST_KEPT) {
                kept += row.files.1;
                all.push((path, Known::Kept(row)));
            }
        }
        let listed: HashSet<&[u8]> = all.iter().map(|(path, _)| *path).collect();
        let unlisted = singles.keys().filter(|path| !listed.contains(*path));
        let unlisted: Vec<_> = unlisted.map(|path| (*path, Known::Nothing)).collect();
        all.extend(unlisted);
        all.sort_unstable_by_key(|(path, _)| *path);
        let mut encoder = Encoder::new(all.len());
        for (path, known) in &all {
            encoder.begin(path);
            match singles.get(path) {
                Some(singles) => self.encode_both(known, singles, now, &mut encoder),
                None => self.each(known, now, |file| encoder.file(&file)),
            }
            encoder.end();
        }
        let unknown = || Encoder::new(0).finish();
        encoder.finish().or_else(unknown).unwrap_or_default()
    }

    /// Calls `visit` for each file of a directory of which something is known, by name.
    fn each<'a>(&'a self, known: &Known<'a>, now: i128, mut visit: impl FnMut(File<'a>)) {
        match known {
            Known::Nothing => {}
            Known::Kept(row) => self.files_of(row).for_each(visit),
            Known::Seen(scanned) => {
                for entry in &scanned.entries {
                    let stamp = Stamp::of(&entry.metadata);
                    if let (Some(content), true) = (entry.content.get(), stamp.is_settled_at(now)) {
                        visit(File {
                            name: scanned.name(entry),
                            stamp,
                            content: *content,
                        });
                    }
                }
            }
        }
    }

    /// Encodes a directory of which some files were read alone, too.
    fn encode_both<'a>(
        &'a self,
        known: &Known<'a>,
        singles: &BTreeMap<&'a [u8], (Stamp, Content)>,
        now: i128,
        encoder: &mut Encoder,
    ) {
        let mut files = BTreeMap::new();
        self.each(known, now, |file| {
            files.insert(file.name, (file.stamp, file.content));
        });
        files.extend(singles.iter().map(|(name, single)| (*name, *single)));
        for (name, (stamp, content)) in files {
            encoder.file(&File {
                name,
                stamp,
                content,
            });
        }
    }
}

/// What is known of a directory.
enum Known<'a> {
    /// What was seen of it.
    Seen(&'a Scanned),
    /// What the index before says.
    Kept(Row),
    Nothing,
}

type Singles<'a> = BTreeMap<&'a [u8], BTreeMap<&'a [u8], (Stamp, Content)>>;

/// Returns files that were read without their directory being walked, by directory and name.
fn by_directory(singles: &HashMap<PathBuf, (Stamp, Content)>, now: i128) -> Singles<'_> {
    let mut by_directory = Singles::new();
    for (path, (stamp, content)) in singles {
        if stamp.is_settled_at(now) {
            let above = path.parent().unwrap_or(Path::new(""));
            let name = path.file_name().unwrap_or_default();
            by_directory
                .entry(above.as_os_str().as_bytes())
                .or_default()
                .insert(name.as_bytes(), (*stamp, *content));
        }
    }
    by_directory
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

/// Puts the bytes of an index together, directory by directory.
struct Encoder {
    bytes: Vec<u8>,
    rows: usize,
    row: [usize; 4],
}

impl Encoder {
    /// Returns one for so many directories, whose rows come first.
    fn new(rows: usize) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0; 4]);
        bytes.extend((rows as u32).to_le_bytes());
        bytes.resize(HEADER_BYTES + rows * ROW_BYTES, 0);
        Encoder {
            bytes,
            rows: 0,
            row: [0; 4],
        }
    }

    /// Begins the directory at `path`.
    fn begin(&mut self, path: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(path);
        self.row = [start, path.len(), self.bytes.len(), 0];
    }

    fn file(&mut self, file: &File<'_>) {
        // Names have 255 bytes at most.
        self.bytes.extend((file.name.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(file.name);
        encode_stamp(&file.stamp, &mut self.bytes);
        self.bytes.extend_from_slice(&file.content);
        self.row[3] += 1;
    }

    fn end(&mut self) {
        let mut at = HEADER_BYTES + self.rows * ROW_BYTES;
        for number in self.row {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            at += 4;
        }
        self.rows += 1;
    }

    /// Returns the bytes; nothing if there are more than numbers can say.
    fn finish(mut self) -> Option<Vec<u8>> {
        u32::try_from(self.bytes.len()).ok()?;
        let start = MAGIC.len();
        let checksum = libdeflater::crc32(&self.bytes[start + 4..]);
        self.bytes[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Scan;
    use crate::tree::Tree;

    /// Clocks jump: what was read when the clock showed a time before that of the file's last
    /// change may change again within the same time.
    #[test]
    fn a_file_that_changed_later_than_now_is_not_known_to_the_next_build() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::fs::write(directory.path().join("d/a"), "a").unwrap();
        let scan = Scan::new(Tree::host(directory.path()).unwrap(), Index::default());
        let d = scan.directory(Path::new("d")).unwrap();
        d.entries[0].content.set([7; 32]).unwrap();
        let directories = HashMap::from([(PathBuf::from("d"), d.clone())]);
        let changed = d.entries[0].metadata.changed.seconds;
        let hour = 3_600;
        for (clock_seconds, known) in [(changed - hour, 0), (changed + hour, 1)] {
            let now = i128::from(clock_seconds) * 1_000_000_000;
            let bytes = Index::default().updated_at(&directories, &HashMap::new(), now);
            let index = Index::decode(bytes).unwrap();
            assert_eq!(index.known(Path::new("d")).len(), known, "{clock_seconds}");
        }
    }
}
