//! Writing the content of copies on several threads, and hashing the archive of what is made.
//!
//! The copier makes files, in their order, and hands them on in batches to be filled; it fills a
//! batch itself when the others have enough to do. While the archive is recorded, whoever fills
//! a file also makes its part of the archive of what was read, and one thread hashes all
//! parts in their order. What waits is bounded everywhere. A copy of few files needs no other
//! thread.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::recording::{ArchiveHash, RecordedArchive};
use super::{CopyError, Result, Source};
use crate::archive::padding;
use crate::tree::{Metadata, NewFile, Tree, metadata_of};

/// Files up to this size are read as a whole; larger ones in parts, or copied within the kernel.
pub(super) const SMALL_FILE_BYTES: u64 = 64 * 1024;
/// Bytes of an archive that are hashed at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes that are asked for at once of a larger file.
const PART_BYTES: usize = 128 * 1024;
/// Files that are handed on together, at most: each is an open handle.
const BATCH_FILES: usize = 16;
const BATCH_BYTES: u64 = 256 * 1024;
const WAITING_BATCHES: usize = 2;
const WAITING_CHUNKS: usize = 4;
/// Parts of the archive that wait to be hashed.
const WAITING_PIECES: usize = 16;
/// Files and bytes that are worth no other thread.
const FEW_FILES: usize = 32;
const FEW_BYTES: u64 = 1 << 20;
/// More threads only wait for each other in the kernel.
const MOST_THREADS: usize = 8;

/// A file that was made and is to be filled.
pub(super) struct Task {
    pub from: PathBuf,
    /// What was seen of it before.
    pub seen: Metadata,
    pub copy: NewFile,
    /// What comes before the content in the archive, if that is recorded.
    pub header: Vec<u8>,
}

/// The writing of one copy.
pub(super) struct Writing<'a> {
    source: Source<'a>,
    failure: Mutex<Option<CopyError>>,
    has_failed: AtomicBool,
    is_recorded: AtomicBool,
    /// Whether the file system was seen not to share blocks between files.
    clones_nothing: AtomicBool,
}

impl<'a> Writing<'a> {
    pub fn new(source: Source<'a>, is_recorded: bool) -> Self {
        Writing {
            source,
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
            is_recorded: AtomicBool::new(is_recorded),
            clones_nothing: AtomicBool::new(false),
        }
    }

    /// Returns those who write, on threads of `scope`.
    pub fn hands<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Hands<'scope, 'env>
    where
        'a: 'env,
    {
        Hands {
            writing: self,
            scope,
            crew: Crew::Alone(ArchiveHash::new()),
            archive: Vec::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            files: 0,
            bytes: 0,
        }
    }

    /// Returns why something could not be written.
    pub fn failure(self) -> Option<CopyError> {
        self.failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the archive can still be told from what was made.
    pub fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Relaxed)
    }

    /// Gives the recording up.
    pub fn stop_recording(&self) {
        self.is_recorded.store(false, Ordering::Relaxed);
    }

    fn work(&self, batches: &Receiver<Batch>, used: &Receiver<Vec<u8>>) {
        let mut chunk = Vec::new();
        for batch in batches {
            let drain = Drain::of(batch.output.filter(|_| self.is_recorded()), used);
            let mut output = Output { chunk, drain };
            for task in batch.tasks {
                // After a failure the rest is only taken, so that nobody waits.
                if self.has_failed.load(Ordering::Relaxed) {
                    continue;
                }
                if let Err(error) = self.fill(task, &mut output) {
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                    self.has_failed.store(true, Ordering::Relaxed);
                }
            }
            output.flush();
            chunk = output.chunk;
        }
    }

    fn fill(&self, mut task: Task, output: &mut Output<'_>) -> Result<()> {
        let from: &Path = &task.from;
        let content = self.open(from)?;
        let xattrs = Tree::xattrs_of(&content, from).map_err(CopyError::Source)?;
        if !xattrs.is_empty() {
            // What the file gets of them is for the file system to say.
            self.stop_recording();
        }
        let size = task.seen.size;
        let into = task.copy.file();
        let copied = match (size <= SMALL_FILE_BYTES, self.is_recorded()) {
            (true, _) => copy_small(&content, into, size, &task.header, output),
            (false, true) => self.copy_parts(&content, into, size, &task.header, output),
            // Between two files the standard library uses copy_file_range, which shares the
            // blocks where the file system can.
            (false, false) => io::copy(&mut &content, into).map(|copied| copied == size),
        };
        let is_whole = copied.map_err(|source| CopyError::Content {
            path: from.to_path_buf(),
            source,
        })?;
        if !is_whole {
            return Err(crate::scan::changed(from));
        }
        output.append(padding(size));
        output.flush_if_full();
        task.copy.set_xattrs(xattrs);
        task.copy.finish().map_err(CopyError::Target)?;
        match self.source {
            Source::Tree(_) => Ok(()),
            Source::Scan(_) => {
                let now = metadata_of(content.as_fd(), from).map_err(CopyError::Source)?;
                self.source.check_read(from, &task.seen, &now)
            }
        }
    }

    /// Opens a file. One of a scan is looked at again once it is read, not before.
    fn open(&self, from: &Path) -> Result<File> {
        let tree = self.source.tree();
        let opened = match self.source {
            Source::Scan(_) => tree.open_seen(from),
            Source::Tree(_) => tree.open_exactly(from).map(|(file, _)| file),
        };
        opened.map_err(CopyError::Source)
    }

    /// Copies a large file and hands what was read to `output`; whether it has `size` bytes.
    fn copy_parts(
        &self,
        from: &File,
        to: &mut File,
        size: u64,
        header: &[u8],
        output: &mut Output<'_>,
    ) -> io::Result<bool> {
        output.append(header);
        let is_shared = self.shares_blocks(from, to)?;
        read_parts(from, size, output, |part| match is_shared {
            true => Ok(()),
            false => to.write_all(part),
        })
    }

    /// Lets the new file `to` have the blocks of `from`; whether it has them.
    fn shares_blocks(&self, from: &File, to: &File) -> io::Result<bool> {
        if self.clones_nothing.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => Ok(true),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::IO) => Err(io::Error::last_os_error()),
            Err(_) => {
                self.clones_nothing.store(true, Ordering::Relaxed);
                Ok(false)
            }
        }
    }
}

/// Those who write.
pub(super) struct Hands<'scope, 'env> {
    writing: &'env Writing<'env>,
    scope: &'scope Scope<'scope, 'env>,
    crew: Crew<'scope>,
    /// Bytes of the archive that come before the next file of the batch, or after its last.
    archive: Vec<u8>,
    batch: Vec<Task>,
    batch_bytes: u64,
    files: usize,
    bytes: u64,
}

/// Who works.
enum Crew<'scope> {
    /// The copier itself.
    Alone(ArchiveHash),
    /// Threads.
    Called {
        batches: Sender<Batch>,
        used: Receiver<Vec<u8>>,
        hashing: Option<(Sender<Piece>, ScopedJoinHandle<'scope, ArchiveHash>)>,
    },
}

/// Files that are filled one after the other.
struct Batch {
    tasks: Vec<Task>,
    /// Takes their part of the archive, if that is recorded.
    output: Option<Sender<Vec<u8>>>,
}

/// What is hashed next.
enum Piece {
    Bytes(Vec<u8>),
    /// What comes from whoever fills a batch.
    Batch(Receiver<Vec<u8>>),
}

impl Hands<'_, '_> {
    /// Returns where the bytes of the archive are appended that come next.
    pub fn archive(&mut self) -> &mut Vec<u8> {
        &mut self.archive
    }

    /// Hands on what was appended to the archive if that is much.
    pub fn pass_on(&mut self) -> Result<()> {
        match self.archive.len() >= CHUNK_BYTES {
            true => self.pass_all_on(),
            false => Ok(()),
        }
    }

    fn pass_all_on(&mut self) -> Result<()> {
        self.send_batch()?;
        let bytes = mem::take(&mut self.archive);
        match &mut self.crew {
            Crew::Alone(hash) => {
                hash.update(&bytes);
                self.archive = bytes;
                self.archive.clear();
            }
            Crew::Called { hashing, used, .. } => {
                if let Some((pieces, _)) = hashing {
                    // The hasher ends after this.
                    let _ = pieces.send(Piece::Bytes(bytes));
                    self.archive = used.try_recv().unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    /// Fills a file, now or soon. Errors are told now or by [`Writing::failure`].
    pub fn write(&mut self, mut task: Task) -> Result<()> {
        self.check(&task.from)?;
        self.files += 1;
        self.bytes += task.seen.size;
        if self.files >= FEW_FILES || self.bytes >= FEW_BYTES {
            self.call();
        }
        if !self.archive.is_empty() {
            let mut before = mem::take(&mut self.archive);
            before.append(&mut task.header);
            task.header = before;
        }
        self.batch_bytes += task.seen.size;
        self.batch.push(task);
        let is_full = self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES;
        match is_full || matches!(self.crew, Crew::Alone(_)) {
            true => self.send_batch(),
            false => Ok(()),
        }
    }

    /// Returns an error once somebody has failed.
    fn check(&self, path: &Path) -> Result<()> {
        match self.writing.has_failed.load(Ordering::Relaxed) {
            true => Err(crate::scan::changed(path)),
            false => Ok(()),
        }
    }

    fn send_batch(&mut self) -> Result<()> {
        let tasks = mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if tasks.is_empty() {
            return Ok(());
        }
        let writing = self.writing;
        let (tasks, drain, chunk) = match &mut self.crew {
            Crew::Alone(hash) if writing.is_recorded() => (tasks, Drain::Hash(hash), Vec::new()),
            Crew::Alone(_) => (tasks, Drain::Nowhere, Vec::new()),
            Crew::Called {
                batches,
                used,
                hashing,
            } => {
                let output = hashing.as_ref().map(|(pieces, _)| {
                    let (sender, receiver) = bounded(WAITING_CHUNKS);
                    let _ = pieces.send(Piece::Batch(receiver));
                    sender
                });
                match batches.try_send(Batch { tasks, output }) {
                    Ok(()) => return Ok(()),
                    Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                        let chunk = used.try_recv().unwrap_or_default();
                        (batch.tasks, Drain::of(batch.output, used), chunk)
                    }
                }
            }
        };
        let mut output = Output { chunk, drain };
        for task in tasks {
            writing.fill(task, &mut output)?;
        }
        output.flush();
        Ok(())
    }

    /// Calls others to help.
    fn call(&mut self) {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let Crew::Alone(hash) = &mut self.crew else {
            return;
        };
        if threads == 1 {
            return;
        }
        let hash = mem::replace(hash, ArchiveHash::new());
        let (used_sender, used) = bounded(WAITING_PIECES);
        let hashing = self.writing.is_recorded().then(|| {
            let (pieces, receiver) = bounded(WAITING_PIECES);
            let hashing = self
                .scope
                .spawn(move || hash_pieces(hash, &receiver, &used_sender));
            (pieces, hashing)
        });
        let (batches, receiver) = bounded(WAITING_BATCHES);
        for _ in 1..threads.min(MOST_THREADS) {
            let (writing, receiver, used) = (self.writing, receiver.clone(), used.clone());
            self.scope.spawn(move || writing.work(&receiver, &used));
        }
        self.crew = Crew::Called {
            batches,
            used,
            hashing,
        };
    }

    /// Waits for all that was handed on; returns the archive if it was recorded.
    pub fn finish(mut self) -> Result<Option<RecordedArchive>> {
        self.pass_all_on()?;
        let hash = match self.crew {
            Crew::Alone(hash) => Some(hash),
            Crew::Called {
                batches, hashing, ..
            } => {
                drop(batches);
                hashing.map(|(pieces, hashing)| {
                    drop(pieces);
                    let joined = hashing.join();
                    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            }
        };
        Ok(hash.map(ArchiveHash::finish))
    }
}

fn hash_pieces(
    mut hash: ArchiveHash,
    pieces: &Receiver<Piece>,
    used: &Sender<Vec<u8>>,
) -> ArchiveHash {
    let mut take = |mut bytes: Vec<u8>| {
        hash.update(&bytes);
        bytes.clear();
        // Who has no use for it makes another.
        let _ = used.try_send(bytes);
    };
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => take(bytes),
            Piece::Batch(chunks) => chunks.iter().for_each(&mut take),
        }
    }
    hash
}

/// Where bytes of the archive go.
struct Output<'a> {
    chunk: Vec<u8>,
    drain: Drain<'a>,
}

enum Drain<'a> {
    Nowhere,
    Hash(&'a mut ArchiveHash),
    Hasher {
        sender: Sender<Vec<u8>>,
        used: &'a Receiver<Vec<u8>>,
    },
}

impl<'a> Drain<'a> {
    fn of(output: Option<Sender<Vec<u8>>>, used: &'a Receiver<Vec<u8>>) -> Self {
        match output {
            Some(sender) => Drain::Hasher { sender, used },
            None => Drain::Nowhere,
        }
    }
}

impl Output<'_> {
    fn append(&mut self, bytes: &[u8]) {
        self.chunk.extend_from_slice(bytes);
    }

    /// Makes room for `bytes` more, so that they can be read in one go.
    fn make_room(&mut self, bytes: usize) {
        if self.chunk.len() + bytes > self.chunk.capacity() {
            self.flush();
            self.chunk.reserve(bytes.max(CHUNK_BYTES));
        }
    }

    fn flush_if_full(&mut self) {
        if self.chunk.len() >= CHUNK_BYTES / 2 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        match &mut self.drain {
            Drain::Nowhere => self.chunk.clear(),
            Drain::Hash(hash) => {
                hash.update(&self.chunk);
                self.chunk.clear();
            }
            Drain::Hasher { sender, used } => {
                if !self.chunk.is_empty() {
                    let next = used.try_recv().unwrap_or_default();
                    // The hasher is gone only if it panicked.
                    let _ = sender.send(mem::replace(&mut self.chunk, next));
                }
            }
        }
    }
}

/// Copies a small file by way of `output`; whether it has `size` bytes.
fn copy_small(
    from: &File,
    to: &mut File,
    size: u64,
    header: &[u8],
    output: &mut Output<'_>,
) -> io::Result<bool> {
    let size = size as usize;
    output.make_room(header.len() + size + padding(size as u64).len());
    output.append(header);
    let start = output.chunk.len();
    while output.chunk.len() < start + size {
        if read_some(from, &mut output.chunk)? == 0 {
            return Ok(false);
        }
    }
    to.write_all(&output.chunk[start..])?;
    Ok(output.chunk.len() == start + size)
}

/// Reads `size` bytes and hands each part to `each` and to `output`; whether there are as many.
fn read_parts(
    from: &File,
    size: u64,
    output: &mut Output<'_>,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<bool> {
    let mut left = size;
    while left > 0 {
        output.make_room(PART_BYTES);
        let start = output.chunk.len();
        let read = read_some(from, &mut output.chunk)? as u64;
        if read == 0 || read > left {
            return Ok(false);
        }
        each(&output.chunk[start..])?;
        left -= read;
    }
    Ok(true)
}

/// Appends what one call reads to `bytes`, as much as there is room for; returns how much.
pub(super) fn read_some(from: &File, bytes: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match rustix::io::read(from, spare_capacity(bytes)) {
            Err(Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}
