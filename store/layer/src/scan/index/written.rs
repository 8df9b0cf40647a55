//! Writing an index: directory by directory, never all of it in memory.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{FIXED_BYTES, File, Files};
use super::{HEADER_BYTES, Index, MAGIC, ROW_BYTES};
use crate::scan::{Content, Scanned, Stamp, stamp, walk};

/// Files that are kept of directories that were not looked at, at least.
const MOST_KEPT: usize = 10_000;
/// Bytes that are written at once.
const PART_BYTES: usize = 64 * 1024;
/// The most that one file takes.
const MOST_FILE_BYTES: usize = FIXED_BYTES + u16::MAX as usize;

/// What is known of a directory.
enum Known {
    /// What was seen of it.
    Seen(Arc<Scanned>),
    /// What the index before says, in its row of this number.
    Kept(u32),
    Nothing,
}

type Singles<'a> = BTreeMap<&'a [u8], BTreeMap<&'a [u8], (Stamp, Content)>>;

impl Index {
    /// Writes an index of what was seen in `roots` and of `singles`, and of what was known of
    /// directories that were not looked at. One of more than four gigabytes is empty instead.
    pub(in crate::scan) fn write_updated(
        &self,
        roots: &[walk::Root],
        singles: &HashMap<PathBuf, (Stamp, Content)>,
        out: &mut (impl Write + Seek),
    ) -> io::Result<()> {
        self.write_updated_at(roots, singles, stamp::now(), out)
    }

    pub(super) fn write_updated_at(
        &self,
        roots: &[walk::Root],
        singles: &HashMap<PathBuf, (Stamp, Content)>,
        now: i128,
        out: &mut (impl Write + Seek),
    ) -> io::Result<()> {
        let singles = by_directory(singles, now);
        let mut all = self.directories(roots, &singles);
        let update = Update {
            index: self,
            singles,
            now,
        };
        let head = match update.head(&all) {
            Some(head) => head,
            None => {
                all = Directories::default();
                update.head(&all).unwrap_or_default()
            }
        };
        write_summed(out, head, |summed| {
            all.iter().try_for_each(|(path, known)| {
                let mut written = Ok(());
                update.each(path, known, &mut |file| {
                    file.encode(&mut summed.bytes);
                    if written.is_ok() {
                        written = summed.write_if_full();
                    }
                });
                written
            })
        })
    }

    /// Returns all directories that the next index tells of, sorted by path.
    fn directories(&self, roots: &[walk::Root], singles: &Singles<'_>) -> Directories {
        let mut all = Directories::default();
        let mut seen: usize = singles.values().map(BTreeMap::len).sum();
        for (root, scanned) in roots {
            each_directory(root, scanned, &mut |path, scanned| {
                seen += scanned.len();
                all.push(path, Known::Seen(scanned.clone()));
            });
        }
        // What other Dockerfiles of the same context read is kept, within reason.
        let mut kept = 0;
        for place in 0..self.rows {
            let Some(row) = self.row(place) else { continue };
            let path = Path::new(std::ffi::OsStr::from_bytes(self.path(&row)));
            let below = |(root, scanned): &walk::Root| {
                let inside = path.strip_prefix(root).ok();
                inside.is_some_and(|inside| scanned.descend(inside).is_some())
            };
            if kept + row.files.1 <= seen.max(MOST_KEPT) && !roots.iter().any(below) {
                kept += row.files.1;
                all.push(self.path(&row), Known::Kept(place as u32));
            }
        }
        all.sort();
        let unlisted = singles.keys().filter(|path| !all.has(path));
        let unlisted: Vec<&[u8]> = unlisted.copied().collect();
        for path in unlisted {
            all.push(path, Known::Nothing);
        }
        all.sort();
        all
    }
}

/// Directories and what is known of them.
#[derive(Default)]
struct Directories {
    paths: Vec<u8>,
    /// Where the path starts, and how long it is.
    rows: Vec<(u32, u32, Known)>,
}

impl Directories {
    fn push(&mut self, path: &[u8], known: Known) {
        // More than numbers can say become no index.
        let start = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        self.paths.extend_from_slice(path);
        self.rows.push((start, path.len() as u32, known));
    }

    fn path_in<'p>(paths: &'p [u8], row: &(u32, u32, Known)) -> &'p [u8] {
        let start = row.0 as usize;
        paths.get(start..start + row.1 as usize).unwrap_or_default()
    }

    fn sort(&mut self) {
        let paths = &self.paths;
        self.rows.sort_unstable_by(|left, right| {
            Self::path_in(paths, left).cmp(Self::path_in(paths, right))
        });
    }

    /// Whether there is a directory at `wanted`. They must be sorted.
    fn has(&self, wanted: &[u8]) -> bool {
        let found = self
            .rows
            .binary_search_by(|row| Self::path_in(&self.paths, row).cmp(wanted));
        found.is_ok()
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &Known)> {
        let rows = self.rows.iter();
        rows.map(|row| (Self::path_in(&self.paths, row), &row.2))
    }
}

/// Calls `visit` for the walked directory at `path` and all in it.
fn each_directory(
    path: &Path,
    scanned: &Arc<Scanned>,
    visit: &mut impl FnMut(&[u8], &Arc<Scanned>),
) {
    let mut waiting = vec![(path.as_os_str().as_bytes().to_vec(), scanned.clone())];
    while let Some((path, scanned)) = waiting.pop() {
        visit(&path, &scanned);
        for file in scanned.files() {
            if let Some(inside) = file.inside() {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                let inner = [&path, slash, file.name().as_bytes()].concat();
                waiting.push((inner, inside.clone()));
            }
        }
    }
}

/// What the next index is made of.
struct Update<'a> {
    index: &'a Index,
    singles: Singles<'a>,
    now: i128,
}

impl Update<'_> {
    /// Returns what comes before the files, from the count on; nothing if numbers cannot say
    /// where all of them are.
    fn head(&self, all: &Directories) -> Option<Vec<u8>> {
        let mut path_start = HEADER_BYTES + all.rows.len() * ROW_BYTES;
        let mut files_start = path_start + all.paths.len();
        let mut bytes = Vec::with_capacity(files_start + MOST_FILE_BYTES);
        bytes.extend((all.rows.len() as u32).to_le_bytes());
        for (path, known) in all.iter() {
            let (mut count, mut length) = (0_usize, 0);
            self.each(path, known, &mut |file| {
                count += 1;
                length += FIXED_BYTES + file.name.len();
            });
            for number in [path_start, path.len(), files_start, count] {
                bytes.extend(u32::try_from(number).ok()?.to_le_bytes());
            }
            path_start += path.len();
            files_start += length;
        }
        u32::try_from(files_start).ok()?;
        all.iter()
            .for_each(|(path, _)| bytes.extend_from_slice(path));
        Some(bytes)
    }

    /// Calls `visit` for each file of a directory of which something is known, by name.
    fn each(&self, path: &[u8], known: &Known, visit: &mut dyn FnMut(&File<'_>)) {
        let Some(singles) = self.singles.get(path) else {
            return self.each_known(known, visit);
        };
        // Some files of it were read alone, too.
        let mut files: BTreeMap<Vec<u8>, (Stamp, Content)> = BTreeMap::new();
        self.each_known(known, &mut |file| {
            files.insert(file.name.to_vec(), (file.stamp, file.content));
        });
        files.extend(
            singles
                .iter()
                .map(|(name, single)| (name.to_vec(), *single)),
        );
        for (name, (stamp, content)) in files {
            visit(&File {
                name: &name,
                stamp,
                content,
            });
        }
    }

    fn each_known(&self, known: &Known, visit: &mut dyn FnMut(&File<'_>)) {
        match known {
            Known::Nothing => {}
            Known::Kept(place) => {
                let row = self.index.row(*place as usize);
                let files = row.map(|row| self.index.files_of(&row));
                let mut files = files.unwrap_or_else(Files::none);
                while let Some(file) = files.peek() {
                    visit(&file);
                    files.advance();
                }
            }
            Known::Seen(scanned) => {
                for file in scanned.files() {
                    let stamp = file.stamp();
                    if let (Some(content), true) = (file.content(), stamp.is_settled_at(self.now)) {
                        visit(&File {
                            name: file.name().as_bytes(),
                            stamp,
                            content: *content,
                        });
                    }
                }
            }
        }
    }
}

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

/// What is written behind the checksum.
struct Summed<'a, W> {
    out: &'a mut W,
    bytes: Vec<u8>,
    sum: libdeflater::Crc,
}

impl<W: Write> Summed<'_, W> {
    fn write_if_full(&mut self) -> io::Result<()> {
        match self.bytes.len() >= PART_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.sum.update(&self.bytes);
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}

/// Writes the magic line, `head`, what `fill` writes, and the checksum before these.
fn write_summed<W: Write + Seek>(
    out: &mut W,
    head: Vec<u8>,
    fill: impl FnOnce(&mut Summed<'_, W>) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&[0; 4])?;
    let mut summed = Summed {
        out,
        bytes: head,
        sum: libdeflater::Crc::new(),
    };
    fill(&mut summed)?;
    summed.write()?;
    let sum = summed.sum.sum();
    out.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    out.write_all(&sum.to_le_bytes())
}
