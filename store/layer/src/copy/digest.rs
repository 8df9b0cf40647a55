//! The digest of what a copy would read: the content half of a cache key.
//!
//! It covers what a copy puts into the target and nothing else: names as they are made
//! there, kinds, permissions, owners, link targets, device numbers, extended attributes,
//! content. Times are left out, and so is the path of a directory whose content is copied:
//! a fresh checkout or a renamed directory is the same content.
//!
//! The bytes are: a line with the version; for each source a line that says whether it is a file
//! or a directory; for each file length of its name (u64), name, kind (one byte), permissions,
//! user, group (u32 each), size (u64; 0 for other than regular files), and the digest of what it
//! holds (32 bytes), which is that of a [`Scan`]. Numbers are little-endian.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use super::sources::{ResolvedSource, parents_of};
use super::walk::{Walk, Walked};
use super::{CopyError, Result, Selection, Source};
use crate::processors;
use crate::scan::{self, Content, Scan, Scanned, ScannedFile};
use crate::tree::{FileKind, Follow, Metadata};

/// Changes whenever the bytes below change, so that old keys match nothing.
const FORMAT: &[u8] = b"kiln content 3\n";
const READ_BUFFER_BYTES: usize = 128 * 1024;
/// Files that wait to be read together, by several threads.
const BATCH_FILES: usize = 1024;
/// Files of a scan that are read together: enough that nobody waits long for the last of them.
const SCANNED_BATCH_FILES: usize = 4096;
/// Bytes that are hashed at once.
const HASH_BATCH_BYTES: usize = 64 * 1024;

/// Files of a listing, at most: a list of more tells people nothing, and would take the memory of
/// all of them.
pub const MOST_LISTED_FILES: usize = 50_000;

/// What a copy replaces anyway, and which a digest therefore ignores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DigestOptions {
    /// The copy sets the owner.
    pub ignore_owner: bool,
    /// The copy sets all permission bits.
    pub ignore_mode: bool,
}

/// A file as a digest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedFile {
    /// Its name in the target; empty for a directory whose content is copied.
    pub name: PathBuf,
    /// Its kind: `f`, `d`, `l`, `p`, `s`, `c` or `b`.
    pub kind: char,
    /// Permission bits, 0 where they do not count.
    pub mode: u32,
    /// User and group, 0 where they do not count.
    pub owner: (u32, u32),
    /// The start of the digest of what it holds.
    pub content: u64,
}

/// Returns the digest of what copying `selection` from `source` would read.
///
/// Errors: the same as copying it, as far as the source is concerned.
pub fn content_digest<'a>(
    source: impl Into<Source<'a>>,
    selection: &Selection,
    options: &DigestOptions,
) -> Result<Digest> {
    let unlisted = Output::new(options, false);
    digest(source.into(), selection, unlisted).map(|(digest, _)| digest)
}

/// Returns the files that [`content_digest`] covers, in its order, with that digest: one more than
/// [`MOST_LISTED_FILES`] if there are more.
pub fn content_listing<'a>(
    source: impl Into<Source<'a>>,
    selection: &Selection,
    options: &DigestOptions,
) -> Result<(Digest, Vec<SelectedFile>)> {
    digest(source.into(), selection, Output::new(options, true))
}

fn digest(
    source: Source<'_>,
    selection: &Selection,
    output: Output,
) -> Result<(Digest, Vec<SelectedFile>)> {
    let mut digester = Digester {
        source,
        selection,
        output,
        queue: Vec::new(),
        unread: 0,
    };
    for file in source.resolve(selection)?.iter() {
        digester.add_source(file)?;
    }
    digester.flush()?;
    Ok(digester.output.finish())
}

/// What is hashed, and listed where that is asked for.
struct Output {
    options: DigestOptions,
    hash: Sha256,
    bytes: Vec<u8>,
    files: Option<Vec<SelectedFile>>,
}

impl Output {
    fn new(options: &DigestOptions, is_listed: bool) -> Self {
        Output {
            options: *options,
            hash: Sha256::new(),
            bytes: FORMAT.to_vec(),
            files: is_listed.then(Vec::new),
        }
    }

    fn line(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
    }

    /// Adds one file. Every part has a fixed size or is preceded by its length, so that no
    /// two trees have the same bytes. The name is given in parts.
    fn file(&mut self, name: [&[u8]; 2], metadata: &Metadata, content: &Content) {
        // The permissions of a link mean nothing.
        let has_mode = !self.options.ignore_mode && metadata.kind != FileKind::Symlink;
        let mode = if has_mode { metadata.mode } else { 0 };
        let (uid, gid) = match self.options.ignore_owner {
            true => (0, 0),
            false => (metadata.uid, metadata.gid),
        };
        let size = match metadata.kind {
            FileKind::Regular => metadata.size,
            _ => 0,
        };
        let kind = kind_code(metadata.kind);
        let length = name[0].len() + name[1].len();
        self.bytes.extend((length as u64).to_le_bytes());
        name.iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.push(kind);
        for number in [mode, uid, gid] {
            self.bytes.extend(number.to_le_bytes());
        }
        self.bytes.extend(size.to_le_bytes());
        self.bytes.extend_from_slice(content);
        let files = self.files.as_mut();
        if let Some(files) = files.filter(|files| files.len() <= MOST_LISTED_FILES) {
            let mut start = [0; 8];
            start.copy_from_slice(&content[..8]);
            let name = std::ffi::OsStr::from_bytes(&name.concat()).to_os_string();
            files.push(SelectedFile {
                name: name.into(),
                kind: char::from(kind),
                mode,
                owner: (uid, gid),
                content: u64::from_be_bytes(start),
            });
        }
        if self.bytes.len() >= HASH_BATCH_BYTES {
            self.hash.update(&self.bytes);
            self.bytes.clear();
        }
    }

    fn finish(mut self) -> (Digest, Vec<SelectedFile>) {
        self.hash.update(&self.bytes);
        let digest = Digest::from_sha256(self.hash.finalize().into());
        (digest, self.files.unwrap_or_default())
    }
}

struct Digester<'a> {
    source: Source<'a>,
    selection: &'a Selection,
    output: Output,
    /// What follows once the files before it are read.
    queue: Vec<Queued>,
    unread: usize,
}

/// What comes next in the digest.
enum Queued {
    Line(&'static [u8]),
    Known(PathBuf, Metadata, Content),
    Unread {
        path: PathBuf,
        name: PathBuf,
        metadata: Metadata,
    },
}

impl Digester<'_> {
    fn add_source(&mut self, file: &ResolvedSource) -> Result<()> {
        for (from, name) in parents_of(file) {
            let node = self.source.tree().lookup(&from, Follow::All);
            if let Some(node) = node.map_err(CopyError::Source)? {
                self.add(&from, &name, &node.metadata)?;
            }
        }
        if !file.metadata.is_directory() {
            self.push(Queued::Line(b"file\n"));
            return self.add(&file.path, &file.name, &file.metadata);
        }
        self.push(Queued::Line(b"directory\n"));
        if !file.is_content() {
            self.add(&file.path, &file.name, &file.metadata)?;
        }
        let relative = match &file.pivot {
            Some(_) => file.name.clone(),
            None => PathBuf::new(),
        };
        match self.source {
            Source::Scan(scan) if self.selection.exclude.is_empty() => {
                self.flush()?;
                add_scanned(scan, &file.path, &relative, &mut self.output)
            }
            _ => self.add_walked(file, &relative),
        }
    }

    fn add_walked(&mut self, file: &ResolvedSource, relative: &Path) -> Result<()> {
        let walked = Walked::start(&self.selection.exclude, &file.path, relative);
        let mut walk = Walk::new(self.source, &self.selection.exclude, walked)?;
        while let Some(reached) = walk.next()? {
            let (path, name) = (reached.path(), relative.join(reached.below()));
            self.add(&path, &name, &reached.file().metadata())?;
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<()> {
        if metadata.is_directory() {
            let xattrs = self.source.tree().xattrs(path).map_err(CopyError::Source)?;
            let content = scan::attributes_content(&xattrs);
            self.push(Queued::Known(name.to_path_buf(), *metadata, content));
            return Ok(());
        }
        self.queue.push(Queued::Unread {
            path: path.to_path_buf(),
            name: name.to_path_buf(),
            metadata: *metadata,
        });
        self.unread += 1;
        match self.unread >= BATCH_FILES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn push(&mut self, next: Queued) {
        match self.queue.is_empty() {
            true => self.write(&next),
            false => self.queue.push(next),
        }
    }

    fn write(&mut self, queued: &Queued) {
        match queued {
            Queued::Line(line) => self.output.line(line),
            Queued::Known(name, metadata, content) => {
                let name = [name.as_os_str().as_bytes(), b""];
                self.output.file(name, metadata, content);
            }
            // Read before it is written.
            Queued::Unread { .. } => {}
        }
    }

    /// Reads the files that wait, and adds what waited for them in its order.
    fn flush(&mut self) -> Result<()> {
        let queue = std::mem::take(&mut self.queue);
        let files: Vec<(&Path, &Metadata)> = queue
            .iter()
            .filter_map(|queued| match queued {
                Queued::Unread { path, metadata, .. } => Some((path.as_path(), metadata)),
                _ => None,
            })
            .collect();
        let mut contents = contents(self.source, &files).into_iter();
        for queued in &queue {
            if let Queued::Unread { name, metadata, .. } = queued {
                let Some(content) = contents.next() else {
                    break;
                };
                let name = [name.as_os_str().as_bytes(), b""];
                self.output.file(name, metadata, &content?);
            } else {
                self.write(queued);
            }
        }
        self.unread = 0;
        Ok(())
    }
}

/// Adds all that is in a scanned directory. Each file is a few bytes of a buffer: no paths are
/// made of those whose content is known.
fn add_scanned(scan: &Scan, start: &Path, relative: &Path, output: &mut Output) -> Result<()> {
    let mut unread = Vec::new();
    each_scanned(scan, start, &mut |below, directory, file| {
        if !file.is_directory() && file.content().is_none() {
            let path = start.join(std::ffi::OsStr::from_bytes(below));
            unread.push((path, directory.clone(), file.place()));
        }
        if unread.len() == SCANNED_BATCH_FILES {
            scan.read_all(&unread)?;
            unread.clear();
        }
        Ok(())
    })?;
    scan.read_all(&unread)?;
    drop(unread);
    let mut prefix = relative.as_os_str().as_bytes().to_vec();
    if !prefix.is_empty() {
        prefix.push(b'/');
    }
    each_scanned(scan, start, &mut |below, _, file| {
        let content = match file.content() {
            Some(content) => *content,
            None => scan::attributes_content(inside(scan, start, below, file)?.xattrs()),
        };
        output.file([&prefix, below], &file.metadata(), &content);
        Ok(())
    })
}

/// Takes the path below the start, the directory, and a file in it.
type Visit<'v> = dyn FnMut(&[u8], &Arc<Scanned>, ScannedFile<'_>) -> Result<()> + 'v;

/// Calls `visit` for all that is in the scanned directory at `start`, a directory before its
/// content, each sorted by name.
fn each_scanned(scan: &Scan, start: &Path, visit: &mut Visit<'_>) -> Result<()> {
    let mut open = vec![(scan.directory(start)?, 0, 0)];
    let mut below: Vec<u8> = Vec::new();
    while let Some((directory, place, length)) = open.last_mut() {
        below.truncate(*length);
        let Some(file) = directory.get(*place) else {
            open.pop();
            continue;
        };
        if !below.is_empty() {
            below.push(b'/');
        }
        below.extend_from_slice(file.name().as_bytes());
        visit(&below, directory, file)?;
        *place += 1;
        if file.is_directory() {
            let inside = inside(scan, start, &below, file)?;
            open.push((inside, 0, below.len()));
        }
    }
    Ok(())
}

/// Returns the directory that `file` is, at `below` from `start` on.
fn inside(scan: &Scan, start: &Path, below: &[u8], file: ScannedFile<'_>) -> Result<Arc<Scanned>> {
    match file.inside() {
        Some(inside) => Ok(inside.clone()),
        None => scan.directory(&start.join(std::ffi::OsStr::from_bytes(below))),
    }
}

/// Returns what files hold, in their order, reading several at once.
fn contents(source: Source<'_>, files: &[(&Path, &Metadata)]) -> Vec<Result<Content>> {
    if files.is_empty() {
        return Vec::new();
    }
    let results: Vec<OnceLock<_>> = files.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some((path, metadata)), Some(slot)) = (files.get(index), results.get(index))
            else {
                return;
            };
            // Each index is taken once, so that the slot is empty.
            let _ = slot.set(content(source, path, metadata, &mut buffer));
        }
    };
    let threads = processors::count();
    thread::scope(|scope| {
        for _ in 1..threads.min(files.len()) {
            scope.spawn(work);
        }
        work();
    });
    results
        .into_iter()
        .filter_map(OnceLock::into_inner)
        .collect()
}

fn content(
    source: Source<'_>,
    path: &Path,
    metadata: &Metadata,
    buffer: &mut [u8],
) -> Result<Content> {
    match source {
        Source::Tree(tree) => scan::content(tree, path, metadata, buffer),
        Source::Scan(scan) => scan.content(path, metadata),
    }
}

fn kind_code(kind: FileKind) -> u8 {
    match kind {
        FileKind::Regular => b'f',
        FileKind::Directory => b'd',
        FileKind::Symlink => b'l',
        FileKind::Fifo => b'p',
        FileKind::CharacterDevice => b'c',
        FileKind::BlockDevice => b'b',
        FileKind::Socket => b's',
    }
}
