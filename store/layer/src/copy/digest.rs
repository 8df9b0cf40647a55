//! The digest of what a copy would read: the content half of a cache key.
//!
//! It covers what a copy puts into the target and nothing else: names as they are made
//! there, kinds, permissions, owners, link targets, device numbers, extended attributes,
//! content. Times are left out, and so is the path of a directory whose content is copied:
//! a fresh checkout or a renamed directory is the same content.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use super::sources::{ResolvedSource, parents_of, resolve_sources};
use super::walk::{Walk, Walked};
use super::{CopyError, Result, Selection};
use crate::tree::{FileKind, Follow, Metadata, Tree, Xattr};

/// Changes whenever the bytes below change, so that old keys match nothing.
const FORMAT: &[u8] = b"kiln content 1\n";
const READ_BUFFER_BYTES: usize = 128 * 1024;
/// Files that wait to be read together, by several threads.
const BATCH_FILES: usize = 1024;

/// What a copy replaces anyway, and which a digest therefore ignores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DigestOptions {
    /// The copy sets the owner.
    pub ignore_owner: bool,
    /// The copy sets all permission bits.
    pub ignore_mode: bool,
}

/// Remembers the digests of files that have not changed.
pub trait ContentIndex {
    /// Returns the digest that was put for the file at `path`, if `metadata` (which includes
    /// the time of the last change of any attribute) says that it is still the same.
    fn get(&self, path: &Path, metadata: &Metadata) -> Option<Digest>;
    /// Remembers the digest of the file at `path`: of its extended attributes and content.
    fn put(&self, path: &Path, metadata: &Metadata, digest: &Digest);
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIndex;

impl ContentIndex for NoIndex {
    fn get(&self, _: &Path, _: &Metadata) -> Option<Digest> {
        None
    }
    fn put(&self, _: &Path, _: &Metadata, _: &Digest) {}
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
    /// The start of a digest of all else.
    pub content: u64,
}

/// Returns the digest of what copying `selection` from `source` would read.
///
/// Errors: the same as copying it, as far as the source is concerned.
pub fn content_digest(
    source: &Tree,
    selection: &Selection,
    options: &DigestOptions,
    index: &dyn ContentIndex,
) -> Result<Digest> {
    digest(source, selection, options, index).map(|(digest, _)| digest)
}

/// Returns the files that [`content_digest`] covers, in its order, with that digest.
pub fn content_listing(
    source: &Tree,
    selection: &Selection,
    options: &DigestOptions,
    index: &dyn ContentIndex,
) -> Result<(Digest, Vec<SelectedFile>)> {
    digest(source, selection, options, index)
}

fn digest(
    source: &Tree,
    selection: &Selection,
    options: &DigestOptions,
    index: &dyn ContentIndex,
) -> Result<(Digest, Vec<SelectedFile>)> {
    let mut digester = Digester {
        source,
        selection,
        options,
        index,
        hash: Sha256::new(),
        queue: Vec::new(),
        unread: 0,
        files: Vec::new(),
    };
    digester.hash.update(FORMAT);
    for file in resolve_sources(source, selection)? {
        digester.add_source(&file)?;
    }
    digester.flush()?;
    let digest = Digest::from_sha256(digester.hash.finalize().into());
    Ok((digest, digester.files))
}

struct Digester<'a> {
    source: &'a Tree,
    selection: &'a Selection,
    options: &'a DigestOptions,
    index: &'a dyn ContentIndex,
    hash: Sha256,
    /// What follows once the files before it are read.
    queue: Vec<Queued>,
    unread: usize,
    files: Vec<SelectedFile>,
}

/// Bytes of the digest's input, and the file whose digest comes after them.
struct Queued {
    bytes: Vec<u8>,
    file: Option<(PathBuf, Metadata)>,
    /// Where the file is in the list.
    listed: usize,
}

/// The digest of a file, and whether the file was the one that was looked at.
struct FileDigest {
    digest: Digest,
    unchanged: bool,
}

impl Digester<'_> {
    fn add_source(&mut self, file: &ResolvedSource) -> Result<()> {
        for (from, name) in parents_of(file) {
            let node = self.source.lookup(&from, Follow::All);
            if let Some(node) = node.map_err(CopyError::Source)? {
                self.add(&from, &name, &node.metadata)?;
            }
        }
        if !file.metadata.is_directory() {
            self.push(b"file\n".to_vec());
            return self.add(&file.path, &file.name, &file.metadata);
        }
        let relative = match &file.pivot {
            Some(_) => file.name.clone(),
            None => PathBuf::new(),
        };
        self.push(b"directory\n".to_vec());
        if !file.is_content() {
            self.add(&file.path, &file.name, &file.metadata)?;
        }
        let walked = Walked::start(&self.selection.exclude, &file.path, &relative);
        let mut walk = Walk::new(self.source, &self.selection.exclude, walked)?;
        while let Some(child) = walk.next()? {
            self.add(&child.path, &relative.join(&child.below), &child.metadata)?;
        }
        Ok(())
    }

    /// Adds one file. Every part has a fixed size or is preceded by its length, so that no
    /// two trees have the same bytes.
    fn add(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<()> {
        let kind = kind_code(metadata.kind);
        let mode = if self.options.ignore_mode {
            0
        } else {
            metadata.mode
        };
        let (uid, gid) = match self.options.ignore_owner {
            true => (0, 0),
            false => (metadata.uid, metadata.gid),
        };
        let mut header = Vec::with_capacity(128);
        push_bytes(&mut header, name.as_os_str().as_bytes());
        header.push(kind);
        // The permissions of a link mean nothing.
        let mode = if metadata.kind == FileKind::Symlink {
            0
        } else {
            mode
        };
        self.files.push(SelectedFile {
            name: name.to_path_buf(),
            kind: char::from(kind),
            mode,
            owner: (uid, gid),
            content: 0,
        });
        for number in [mode, uid, gid] {
            header.extend(number.to_le_bytes());
        }
        match metadata.kind {
            FileKind::Regular => {
                header.extend(metadata.size.to_le_bytes());
                return self.add_regular(path, metadata, header);
            }
            FileKind::Symlink => {
                let target = self.source.read_link(path).map_err(CopyError::Source)?;
                push_bytes(&mut header, target.as_os_str().as_bytes());
            }
            FileKind::CharacterDevice | FileKind::BlockDevice => {
                header.extend(metadata.special_device.0.to_le_bytes());
                header.extend(metadata.special_device.1.to_le_bytes());
            }
            FileKind::Directory | FileKind::Fifo | FileKind::Socket => {}
        }
        let xattrs = self.source.xattrs(path).map_err(CopyError::Source)?;
        push_xattrs(&mut header, &xattrs);
        if !xattrs.is_empty() || metadata.kind == FileKind::Symlink {
            let digest = Digest::sha256(&header);
            self.note_content(self.files.len() - 1, &digest);
        }
        self.push(header);
        Ok(())
    }

    fn add_regular(&mut self, path: &Path, metadata: &Metadata, header: Vec<u8>) -> Result<()> {
        let mut bytes = header;
        if let Some(known) = self.index.get(path, metadata) {
            push_bytes(&mut bytes, known.as_str().as_bytes());
            self.note_content(self.files.len() - 1, &known);
            self.push(bytes);
            return Ok(());
        }
        let file = Some((path.to_path_buf(), *metadata));
        let listed = self.files.len() - 1;
        self.queue.push(Queued {
            bytes,
            file,
            listed,
        });
        self.unread += 1;
        if self.unread >= BATCH_FILES {
            self.flush()?;
        }
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>) {
        match self.queue.is_empty() {
            true => self.hash.update(&bytes),
            false => self.queue.push(Queued {
                bytes,
                file: None,
                listed: 0,
            }),
        }
    }

    fn note_content(&mut self, listed: usize, digest: &Digest) {
        let start = digest.hex().get(..16);
        let number = start.and_then(|start| u64::from_str_radix(start, 16).ok());
        if let Some(file) = self.files.get_mut(listed) {
            file.content = number.unwrap_or(0);
        }
    }

    /// Reads the files that wait, and adds what waited for them in its order.
    fn flush(&mut self) -> Result<()> {
        let queue = std::mem::take(&mut self.queue);
        let files: Vec<_> = queue
            .iter()
            .filter_map(|queued| queued.file.as_ref())
            .collect();
        let mut digests = digest_files(self.source, &files).into_iter();
        for queued in &queue {
            self.hash.update(&queued.bytes);
            let Some((path, metadata)) = &queued.file else {
                continue;
            };
            let Some(read) = digests.next() else {
                continue;
            };
            let read = read?;
            let mut bytes = Vec::new();
            push_bytes(&mut bytes, read.digest.as_str().as_bytes());
            self.hash.update(&bytes);
            self.note_content(queued.listed, &read.digest);
            if read.unchanged {
                self.index.put(path, metadata, &read.digest);
            }
        }
        self.unread = 0;
        Ok(())
    }
}

/// Returns the digests of files, in their order, reading several at once.
fn digest_files(source: &Tree, files: &[&(PathBuf, Metadata)]) -> Vec<Result<FileDigest>> {
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
            let _ = slot.set(file_digest(source, path, metadata, &mut buffer));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
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

/// Returns the digest of a regular file's extended attributes and content.
fn file_digest(
    source: &Tree,
    path: &Path,
    metadata: &Metadata,
    buffer: &mut [u8],
) -> Result<FileDigest> {
    let (mut file, opened) = source.open_exactly(path).map_err(CopyError::Source)?;
    let mut head = Vec::new();
    push_xattrs(
        &mut head,
        &Tree::xattrs_of(&file, path).map_err(CopyError::Source)?,
    );
    let mut hash = Sha256::new();
    hash.update(&head);
    update_from(&mut hash, &mut file, buffer).map_err(|source| CopyError::Content {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(FileDigest {
        digest: Digest::from_sha256(hash.finalize().into()),
        // A file that was replaced between the two looks is not remembered.
        unchanged: opened == *metadata,
    })
}

fn update_from(hash: &mut Sha256, file: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn push_bytes(header: &mut Vec<u8>, bytes: &[u8]) {
    header.extend((bytes.len() as u64).to_le_bytes());
    header.extend(bytes);
}

fn push_xattrs(header: &mut Vec<u8>, xattrs: &[Xattr]) {
    header.extend((xattrs.len() as u64).to_le_bytes());
    for xattr in xattrs {
        push_bytes(header, xattr.name.as_bytes());
        push_bytes(header, &xattr.value);
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
