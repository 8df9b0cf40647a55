//! Writing the files of a copy on several threads, and hashing the archive of what is made.
//!
//! The copier makes directories, in their order, and hands on batches of files to be made in them;
//! it makes a batch itself when the others have enough to do. While the archive is recorded,
//! whoever makes a file also makes its part of the archive of what was read, and one thread
//! hashes all parts in their order. What waits is bounded everywhere. A copy of few files needs
//! no other thread.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::making::{Making, Run, Task};
use super::output::{CHUNK_BYTES, Drain, Output};
use super::recording::{ArchiveHash, RecordedArchive};
use super::{CopyError, Result};
use crate::processors;

/// Files that are handed on together, at most, and open handles: files that were made already, and
/// directories.
pub(super) const BATCH_FILES: usize = 64;
const BATCH_HANDLES: usize = 16;
pub(super) const BATCH_BYTES: u64 = 256 * 1024;
const WAITING_BATCHES: usize = 2;
const WAITING_CHUNKS: usize = 4;
/// Parts of the archive that wait to be hashed.
const WAITING_PIECES: usize = 16;
/// Files and bytes that are worth no other thread.
const FEW_FILES: usize = 32;
const FEW_BYTES: u64 = 1 << 20;
/// More threads only wait for each other in the kernel.
const MOST_THREADS: usize = 8;

/// The writing of one copy.
pub(super) struct Writing<'a> {
    making: &'a Making<'a>,
    failure: Mutex<Option<CopyError>>,
    has_failed: AtomicBool,
    /// Batches that were handed on and are not made yet.
    unfinished: Mutex<usize>,
    finished: Condvar,
}

impl<'a> Writing<'a> {
    pub fn new(making: &'a Making<'a>) -> Self {
        Writing {
            making,
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
            unfinished: Mutex::default(),
            finished: Condvar::new(),
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
            batch: Items::default(),
            chunk: Vec::new(),
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

    fn work(&self, batches: &Receiver<Batch>, used: &Receiver<Vec<u8>>) {
        let mut chunk = Vec::new();
        for batch in batches {
            let _unfinished = Unfinished(self);
            let drain = Drain::of(batch.output.filter(|_| self.making.is_recorded()), used);
            let mut output = Output { chunk, drain };
            for item in batch.items {
                // After a failure the rest is only taken, so that nobody waits.
                if self.has_failed.load(Ordering::Relaxed) {
                    continue;
                }
                if let Err(error) = self.make(item, &mut output) {
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                    self.has_failed.store(true, Ordering::Relaxed);
                }
            }
            output.flush();
            chunk = output.chunk;
        }
    }

    fn make(&self, item: Item, output: &mut Output<'_>) -> Result<()> {
        match item {
            Item::Bytes(bytes) => {
                output.append(&bytes);
                output.flush_if_full();
                Ok(())
            }
            Item::Task(task) => self.making.fill(*task, output),
            Item::Run(run) => self.making.make_run(&run, output),
        }
    }

    fn unfinished(&self) -> MutexGuard<'_, usize> {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One batch less is unfinished when this is dropped, whatever happens.
struct Unfinished<'w, 'a>(&'w Writing<'a>);

impl Drop for Unfinished<'_, '_> {
    fn drop(&mut self) {
        *self.0.unfinished() -= 1;
        self.0.finished.notify_one();
    }
}

/// Those who write.
pub(super) struct Hands<'scope, 'env> {
    writing: &'env Writing<'env>,
    scope: &'scope Scope<'scope, 'env>,
    crew: Crew<'scope>,
    /// Bytes of the archive that come before the next file of the batch, or after its last.
    archive: Vec<u8>,
    batch: Items,
    /// To be used again.
    chunk: Vec<u8>,
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

/// What is made next.
enum Item {
    /// Bytes of the archive.
    Bytes(Vec<u8>),
    Task(Box<Task>),
    Run(Run),
}

/// What is gathered for a batch.
#[derive(Default)]
struct Items {
    items: Vec<Item>,
    files: usize,
    handles: usize,
    bytes: u64,
}

/// What one thread makes, one after the other.
struct Batch {
    items: Vec<Item>,
    /// Takes their part of the archive, if that is recorded.
    output: Option<Sender<Vec<u8>>>,
}

/// What is hashed next.
enum Piece {
    Bytes(Vec<u8>),
    /// What comes from whoever makes a batch.
    Batch(Receiver<Vec<u8>>),
}

impl Items {
    fn is_full(&self) -> bool {
        self.files >= BATCH_FILES || self.handles >= BATCH_HANDLES || self.bytes >= BATCH_BYTES
    }
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
    pub fn fill(&mut self, task: Task) -> Result<()> {
        let bytes = task.seen.size;
        self.batch.handles += 1;
        self.hand_on(Item::Task(Box::new(task)), 1, bytes)
    }

    /// Makes files, which have so many bytes, as [`Hands::fill`] does.
    pub fn make(&mut self, run: Run, bytes: u64) -> Result<()> {
        let files = run.files.len();
        self.batch.handles += 1;
        self.hand_on(Item::Run(run), files, bytes)
    }

    fn hand_on(&mut self, item: Item, files: usize, bytes: u64) -> Result<()> {
        self.check()?;
        self.files += files;
        self.bytes += bytes;
        if self.files >= FEW_FILES || self.bytes >= FEW_BYTES {
            self.call();
        }
        if !self.archive.is_empty() {
            let before = mem::take(&mut self.archive);
            self.batch.items.push(Item::Bytes(before));
        }
        self.batch.files += files;
        self.batch.bytes += bytes;
        self.batch.items.push(item);
        match self.batch.is_full() || matches!(self.crew, Crew::Alone(_)) {
            true => self.send_batch(),
            false => Ok(()),
        }
    }

    /// Returns once all that was handed on is made.
    pub fn wait(&mut self) -> Result<()> {
        self.send_batch()?;
        let unfinished = self.writing.unfinished();
        let finished = &self.writing.finished;
        let waited = finished.wait_while(unfinished, |unfinished| *unfinished > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.check()
    }

    /// Returns an error once somebody has failed; theirs is told.
    fn check(&self) -> Result<()> {
        match self.writing.has_failed.load(Ordering::Relaxed) {
            true => Err(crate::scan::changed(std::path::Path::new(""))),
            false => Ok(()),
        }
    }

    fn send_batch(&mut self) -> Result<()> {
        let items = mem::take(&mut self.batch).items;
        if items.is_empty() {
            return Ok(());
        }
        let writing = self.writing;
        let (items, drain) = match &mut self.crew {
            Crew::Alone(hash) if writing.making.is_recorded() => (items, Drain::Hash(hash)),
            Crew::Alone(_) => (items, Drain::Nowhere),
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
                *writing.unfinished() += 1;
                match batches.try_send(Batch { items, output }) {
                    Ok(()) => return Ok(()),
                    Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                        *writing.unfinished() -= 1;
                        (batch.items, Drain::of(batch.output, used))
                    }
                }
            }
        };
        let chunk = mem::take(&mut self.chunk);
        let mut output = Output { chunk, drain };
        for item in items {
            writing.make(item, &mut output)?;
        }
        output.flush();
        self.chunk = output.chunk;
        Ok(())
    }

    /// Calls others to help.
    fn call(&mut self) {
        let threads = processors::count();
        let Crew::Alone(hash) = &mut self.crew else {
            return;
        };
        if threads == 1 {
            return;
        }
        let hash = mem::replace(hash, ArchiveHash::new());
        let (used_sender, used) = bounded(WAITING_PIECES);
        let hashing = self.writing.making.is_recorded().then(|| {
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
