//! Blobs of layers that others may send while they are still being compressed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_disk::BlobWriter;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{GrowingBlob, Growth};

/// The blob of a layer that is being compressed.
#[derive(Debug, Clone)]
pub struct GrowingLayer(Arc<Shared>);

/// Who is told of each blob that is begun.
pub(crate) type Begun<'a> = &'a dyn Fn(GrowingLayer);

#[derive(Debug)]
struct Shared {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Growing(u64),
    Whole(Box<Descriptor>),
    Failed,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GrowingLayer {
    /// Whether it will never be whole.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(*self.0.state(), State::Failed)
    }

    /// Whether it has become the blob `digest`.
    pub(crate) fn is(&self, digest: &Digest) -> bool {
        matches!(&*self.0.state(), State::Whole(descriptor) if descriptor.digest == *digest)
    }
}

impl GrowingBlob for GrowingLayer {
    fn growth(&self) -> io::Result<Growth> {
        match &*self.0.state() {
            State::Growing(bytes) => Ok(Growth::Bytes(*bytes)),
            State::Whole(descriptor) => Ok(Growth::Whole(descriptor.clone())),
            State::Failed => Err(io::Error::other("the layer could not be compressed")),
        }
    }

    fn check(&self) -> io::Result<()> {
        self.growth().map(drop)
    }

    fn open(&self, position: u64) -> io::Result<Box<dyn Read + Send>> {
        let shared = self.0.clone();
        Ok(Box::new(Reading { shared, position }))
    }
}

/// Two are one if they are the same blob in the making.
impl PartialEq for GrowingLayer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for GrowingLayer {}

/// Reads what is there, at a place of its own.
struct Reading {
    shared: Arc<Shared>,
    position: u64,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.shared.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// Writes the blob of a layer, and lets others know how far it is.
pub(crate) struct LayerBlobWriter {
    writer: BlobWriter,
    progress: Known,
}

/// What others know of a blob; dropped before it is whole, that it never is.
struct Known(GrowingLayer);

impl LayerBlobWriter {
    /// Goes on with what `writer` has begun; tells `begun` of it.
    pub fn new(writer: BlobWriter, begun: Begun<'_>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            file: File::open(writer.path())?,
            state: Mutex::new(State::Growing(writer.size())),
        });
        begun(GrowingLayer(shared.clone()));
        let progress = Known(GrowingLayer(shared));
        Ok(Self { writer, progress })
    }

    /// Gives the blob its name, durably.
    pub fn commit(self, descriptor: &Descriptor) -> kiln_disk::Result<()> {
        let expected = (&descriptor.digest, descriptor.size);
        self.writer.commit(Some(expected))?;
        *self.progress.0.0.state() = State::Whole(Box::new(descriptor.clone()));
        Ok(())
    }
}

impl Write for LayerBlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        *self.progress.0.0.state() = State::Growing(self.writer.size());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut state = self.0.0.state();
        if matches!(*state, State::Growing(_)) {
            *state = State::Failed;
        }
    }
}
