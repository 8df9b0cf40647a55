//! Writing the content of copies on several threads.
//!
//! The copier makes files, in their order, and hands them on to be filled; it fills one itself
//! when the others have enough to do. A copy of few files needs no other thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::{CopyError, Result, Source};
use crate::tree::{Metadata, NewFile, Tree, metadata_of};

/// Files up to this size are read into memory; larger ones are copied within the kernel.
const SMALL_FILE_BYTES: u64 = 64 * 1024;
/// Files that are open and wait for a hand, at most.
const WAITING_FILES: usize = 64;
/// Files that are worth no other thread.
const FEW_FILES: usize = 32;
/// More threads only wait for each other in the kernel.
const MOST_THREADS: usize = 8;

/// A file that was made and is to be filled.
pub(super) struct Task {
    pub from: PathBuf,
    /// What was seen of it before.
    pub seen: Metadata,
    pub size: u64,
    pub content: File,
    pub copy: NewFile,
}

/// The writing of one copy.
pub(super) struct Writing<'a> {
    source: Source<'a>,
    failure: Mutex<Option<CopyError>>,
    has_failed: AtomicBool,
}

impl<'a> Writing<'a> {
    pub fn new(source: Source<'a>) -> Self {
        Writing {
            source,
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
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
            sender: None,
            count: 0,
            buffer: Vec::new(),
        }
    }

    /// Returns why something could not be written.
    pub fn failure(self) -> Option<CopyError> {
        self.failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, tasks: &Receiver<Task>) {
        let mut buffer = Vec::new();
        for task in tasks {
            // After a failure the rest is only taken, so that nobody waits.
            if self.has_failed.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = fill(self.source, task, &mut buffer) {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                self.has_failed.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Those who write.
pub(super) struct Hands<'scope, 'env> {
    writing: &'env Writing<'env>,
    scope: &'scope Scope<'scope, 'env>,
    sender: Option<Sender<Task>>,
    count: usize,
    buffer: Vec<u8>,
}

impl Hands<'_, '_> {
    /// Fills a file, now or soon. Errors are told now or by [`Writing::failure`].
    pub fn write(&mut self, task: Task) -> Result<()> {
        if self.writing.has_failed.load(Ordering::Relaxed) {
            return Err(crate::scan::changed(&task.from));
        }
        self.count += 1;
        if self.count == FEW_FILES {
            self.call();
        }
        let own = match &self.sender {
            None => task,
            Some(sender) => match sender.try_send(task) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => task,
            },
        };
        fill(self.writing.source, own, &mut self.buffer)
    }

    fn call(&mut self) {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        if threads == 1 {
            return;
        }
        let (sender, receiver) = bounded(WAITING_FILES);
        for _ in 1..threads.min(MOST_THREADS) {
            let (writing, receiver) = (self.writing, receiver.clone());
            self.scope.spawn(move || writing.work(&receiver));
        }
        self.sender = Some(sender);
    }
}

fn fill(source: Source<'_>, mut task: Task, buffer: &mut Vec<u8>) -> Result<()> {
    let from: &Path = &task.from;
    let xattrs = Tree::xattrs_of(&task.content, from).map_err(CopyError::Source)?;
    let copied = copy_bytes(&mut task.content, task.copy.file(), task.size, buffer);
    copied.map_err(|source| CopyError::Content {
        path: from.to_path_buf(),
        source,
    })?;
    task.copy.set_xattrs(xattrs);
    task.copy.finish().map_err(CopyError::Target)?;
    match source {
        Source::Tree(_) => Ok(()),
        Source::Scan(_) => {
            let now = metadata_of(task.content.as_fd(), from).map_err(CopyError::Source)?;
            source.check_read(from, &task.seen, &now)
        }
    }
}

fn copy_bytes(from: &mut File, to: &mut File, size: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    if size > SMALL_FILE_BYTES {
        // Between two files the standard library uses copy_file_range, which shares the blocks
        // where the file system can.
        return io::copy(from, to).map(drop);
    }
    buffer.clear();
    // One byte more: room to see the end, and whether the file has grown.
    buffer.reserve(usize::try_from(size).unwrap_or(0) + 1);
    from.take(SMALL_FILE_BYTES).read_to_end(buffer)?;
    to.write_all(buffer)
}
