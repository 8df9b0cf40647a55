//! Blobs of layers from the registry into the store, over a few connections at once.
//!
//! Blobs come in the order in which they are needed. A large one comes in parts, so that the
//! one that is waited for has all connections; where the server sends no parts, it comes whole.
//! What has come stays when the transfer breaks off, for this process or another to go on with.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kiln_disk::{KeyLock, PartialBlob, Patience, Store};
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{BlobReader, Client};

use super::arrival::Arrival;
use super::error::{PullError, Result};
use super::{PullEvent, PullObserver, waiting};

/// How many connections one image is downloaded over.
const CONNECTIONS: usize = 4;

/// Where parts begin: at multiples of this.
const PART_BYTES: u64 = 16 << 20;
const BUFFER_BYTES: usize = 128 << 10;
const REPORT_EVERY_BYTES: u64 = 1 << 20;

/// The downloads of one image, in the order in which they are needed.
pub(super) struct Downloads<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    observer: PullObserver<'a>,
    wanted: &'a [(&'a Descriptor, Arrival)],
    stages: Mutex<Vec<Stage>>,
    changed: Condvar,
    stopped: AtomicBool,
}

/// How far a blob has come.
enum Stage {
    Waiting,
    /// Somebody finds out whether it is here, and whether it comes in parts.
    Beginning,
    /// It comes in parts; those from `next` on are still to be asked for.
    Parts {
        fetch: Arc<Fetch>,
        next: u64,
        running: usize,
    },
    Done,
}

/// A blob on its way.
struct Fetch {
    partial: PartialBlob,
    received: AtomicU64,
    is_broken: AtomicBool,
    /// Others that want the blob wait until it is there.
    _lock: KeyLock,
}

/// What a connection does next.
enum Task {
    Begin(usize),
    Part(usize, Arc<Fetch>, Range<u64>),
}

impl<'a> Downloads<'a> {
    /// Returns the downloads of the blobs `wanted`.
    pub fn new(
        store: &'a Store,
        client: &'a Client,
        reference: &'a Reference,
        observer: PullObserver<'a>,
        wanted: &'a [(&'a Descriptor, Arrival)],
    ) -> Self {
        Self {
            store,
            client,
            reference,
            observer,
            wanted,
            stages: Mutex::new(wanted.iter().map(|_| Stage::Waiting).collect()),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Returns how many threads should work.
    pub fn connections(&self) -> usize {
        let parts = self.wanted.iter().map(|(one, _)| one.size / PART_BYTES + 1);
        CONNECTIONS.min(usize::try_from(parts.sum::<u64>()).unwrap_or(CONNECTIONS))
    }

    /// Downloads until nothing is left; run by several threads.
    pub fn work(&self) {
        while let Some(task) = self.next_task() {
            match task {
                Task::Begin(index) => self.begin(index),
                Task::Part(index, fetch, range) => {
                    let done = self.part(index, &fetch, range);
                    drop(fetch);
                    self.part_done(index, done);
                }
            }
        }
    }

    /// Makes the workers end soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn stages(&self) -> MutexGuard<'_, Vec<Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_task(&self) -> Option<Task> {
        let mut stages = self.stages();
        loop {
            for (index, stage) in stages.iter_mut().enumerate() {
                let size = self.wanted[index].0.size;
                match stage {
                    Stage::Waiting => {
                        *stage = Stage::Beginning;
                        return Some(Task::Begin(index));
                    }
                    Stage::Parts {
                        fetch,
                        next,
                        running,
                    } if *next < size && !self.is_stopped() => {
                        let range = *next..part_end(*next, size);
                        *next = range.end;
                        *running += 1;
                        return Some(Task::Part(index, Arc::clone(fetch), range));
                    }
                    // Nobody fetches the rest any more, and somebody may wait for it.
                    Stage::Parts { next, running, .. } if *next < size && *running == 0 => {
                        *stage = Stage::Done;
                        self.wanted[index].1.fail(self.stopped_error());
                    }
                    _ => {}
                }
            }
            let may_grow = |stage: &Stage| matches!(stage, Stage::Beginning);
            if !stages.iter().any(may_grow) {
                return None;
            }
            let woken = self.changed.wait(stages);
            stages = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn set(&self, index: usize, stage: Stage) {
        self.stages()[index] = stage;
        self.changed.notify_all();
    }

    /// Begins with a blob, and fetches its first part or all of it.
    fn begin(&self, index: usize) {
        let (descriptor, arrival) = &self.wanted[index];
        let fetch = match self.find_or_begin(descriptor, arrival) {
            Ok(Some(fetch)) => Arc::new(fetch),
            Ok(None) => return self.set(index, Stage::Done),
            Err(error) => {
                arrival.fail(error);
                return self.set(index, Stage::Done);
            }
        };
        let (size, begin) = (descriptor.size, fetch.partial.found_bytes());
        // All of it until the server turns out to send parts.
        let stage = Stage::Parts {
            fetch: Arc::clone(&fetch),
            next: size,
            running: 1,
        };
        *self.stages().get_mut(index).unwrap_or(&mut Stage::Done) = stage;
        let done = self.first_part(index, &fetch, begin);
        drop(fetch);
        self.part_done(index, done);
    }

    /// Fetches the first part; tells the others of further ones if there are any.
    fn first_part(&self, index: usize, fetch: &Fetch, begin: u64) -> Result<()> {
        let (descriptor, _) = &self.wanted[index];
        let size = descriptor.size;
        let end = match size - begin > 2 * PART_BYTES {
            true => part_end(begin, size),
            false => size,
        };
        if begin == size && size > 0 {
            return Ok(());
        }
        let mut reader = self.reader(descriptor, begin..end)?;
        let mut told = end == size;
        self.copy(index, fetch, &mut reader, begin, |reader| {
            if told {
                return;
            }
            told = true;
            match reader.sends_parts() {
                Some(true) => self.offer_parts(index, end),
                _ => reader.go_on_to_end(),
            }
        })
    }

    fn offer_parts(&self, index: usize, from: u64) {
        if let Stage::Parts { next, .. } = &mut self.stages()[index] {
            *next = from;
        }
        self.changed.notify_all();
    }

    fn part(&self, index: usize, fetch: &Fetch, range: Range<u64>) -> Result<()> {
        let begin = range.start;
        let mut reader = self.reader(self.wanted[index].0, range)?;
        self.copy(index, fetch, &mut reader, begin, |_| ())
    }

    fn reader(&self, descriptor: &Descriptor, range: Range<u64>) -> Result<BlobReader> {
        let reader = match range == (0..descriptor.size) {
            true => self.client.blob(self.reference, descriptor),
            false => self.client.blob_part(self.reference, descriptor, range),
        };
        // The store hashes what it gets; once is enough.
        let reader = reader.map(BlobReader::without_digest_check);
        reader.map_err(|source| PullError::Registry {
            image: self.reference.familiar(),
            source: Box::new(source),
        })
    }

    /// Writes what `reader` gives from `position` on; `on_read` is called after each read.
    fn copy(
        &self,
        index: usize,
        fetch: &Fetch,
        reader: &mut BlobReader,
        mut position: u64,
        mut on_read: impl FnMut(&mut BlobReader),
    ) -> Result<()> {
        let (descriptor, arrival) = &self.wanted[index];
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let image = self.reference.familiar();
                    return Err(PullError::reading(&image, error, &descriptor.digest));
                }
            };
            on_read(reader);
            if self.is_stopped() || fetch.is_broken.load(Ordering::Relaxed) {
                return Err(self.stopped_error());
            }
            let come = fetch.partial.write_at(position, &buffer[..count])?;
            position += count as u64;
            // What another process left is shown to nobody before it is checked.
            if fetch.partial.found_bytes() == 0 {
                arrival.progress(fetch.partial.file(), come);
            }
            self.count(descriptor, fetch, count as u64);
        }
    }

    fn count(&self, descriptor: &Descriptor, fetch: &Fetch, bytes: u64) {
        let before = fetch.received.fetch_add(bytes, Ordering::Relaxed);
        let come = before + bytes;
        // That all of it has come is said once it is checked.
        if before / REPORT_EVERY_BYTES != come / REPORT_EVERY_BYTES && come < descriptor.size {
            self.report(descriptor, come);
        }
    }

    /// Counts a part that is over; the last one completes the blob.
    fn part_done(&self, index: usize, done: Result<()>) {
        let (descriptor, arrival) = &self.wanted[index];
        let mut stages = self.stages();
        let Stage::Parts {
            fetch,
            next,
            running,
        } = &mut stages[index]
        else {
            return;
        };
        *running -= 1;
        if let Err(error) = done {
            if !fetch.is_broken.swap(true, Ordering::Relaxed) {
                arrival.fail(error);
            }
            *next = descriptor.size;
        }
        if *next < descriptor.size || *running > 0 {
            return;
        }
        let Stage::Parts { fetch, .. } = std::mem::replace(&mut stages[index], Stage::Beginning)
        else {
            return;
        };
        drop(stages);
        // Every other part has given back its share before it was counted.
        let next = match Arc::into_inner(fetch) {
            Some(fetch) if !fetch.is_broken.load(Ordering::Relaxed) => {
                self.complete(descriptor, arrival, fetch)
            }
            _ => Stage::Done,
        };
        self.set(index, next);
    }

    /// Stores a blob of which everything has come; returns how it goes on.
    fn complete(&self, descriptor: &Descriptor, arrival: &Arrival, fetch: Fetch) -> Stage {
        let file = Arc::clone(fetch.partial.file());
        let was_found = fetch.partial.found_bytes() > 0;
        match fetch.partial.commit(descriptor.size) {
            Ok(()) => {
                self.report(descriptor, descriptor.size);
                arrival.complete(file);
                Stage::Done
            }
            // What was left by somebody else was no good, and is gone now.
            Err(kiln_disk::Error::WrongDigest { .. }) if was_found => Stage::Waiting,
            Err(error) => {
                arrival.fail(self.wrong_content(error));
                Stage::Done
            }
        }
    }

    /// Looks whether the store has the blob, waiting for others that fetch it; else begins.
    fn find_or_begin(&self, descriptor: &Descriptor, arrival: &Arrival) -> Result<Option<Fetch>> {
        if self.is_stopped() {
            return Err(self.stopped_error());
        }
        if self.take_stored(descriptor, arrival)? {
            return Ok(None);
        }
        let mut tell = waiting(&descriptor.digest, self.observer);
        let name = format!("blob {}", descriptor.digest);
        let lock = self.store.lock_key(&name, |holder| {
            tell(holder);
            match self.is_stopped() {
                true => Patience::GiveUp,
                false => Patience::Wait,
            }
        })?;
        if self.take_stored(descriptor, arrival)? {
            return Ok(None);
        }
        let blobs = self.store.blobs();
        let mut partial = blobs.partial(&descriptor.digest)?;
        if partial.found_bytes() > descriptor.size {
            partial.discard();
            partial = blobs.partial(&descriptor.digest)?;
        }
        Ok(Some(Fetch {
            received: AtomicU64::new(partial.found_bytes()),
            partial,
            is_broken: AtomicBool::new(false),
            _lock: lock,
        }))
    }

    /// Whether the store has the blob already.
    fn take_stored(&self, descriptor: &Descriptor, arrival: &Arrival) -> Result<bool> {
        let blobs = self.store.blobs();
        let size = blobs.size(&descriptor.digest);
        // It is about to be unpacked: a damaged one is fetched anew.
        if !size.is_ok_and(|size| size == descriptor.size) || !blobs.is_sound(&descriptor.digest)? {
            return Ok(false);
        }
        arrival.complete(Arc::new(blobs.open(&descriptor.digest)?));
        Ok(true)
    }

    fn stopped_error(&self) -> PullError {
        let image = self.reference.familiar();
        PullError::Registry {
            image,
            source: Box::new(kiln_registry::Error::Cancelled),
        }
    }

    /// Says who served what the store refused.
    fn wrong_content(&self, error: kiln_disk::Error) -> PullError {
        let kiln_disk::Error::WrongDigest { expected, found } = error else {
            return error.into();
        };
        let (image, host) = (
            self.reference.familiar(),
            self.reference.registry().to_owned(),
        );
        let source = Box::new(kiln_registry::Error::WrongDigest {
            host,
            expected,
            found,
        });
        PullError::Registry { image, source }
    }

    fn report(&self, descriptor: &Descriptor, bytes: u64) {
        let (blob, total_bytes) = (descriptor.digest.clone(), descriptor.size);
        (self.observer)(PullEvent::Downloading {
            blob,
            bytes,
            total_bytes,
        });
    }
}

/// Returns where the part ends that begins at `begin`.
fn part_end(begin: u64, size: u64) -> u64 {
    ((begin / PART_BYTES + 1) * PART_BYTES).min(size)
}
