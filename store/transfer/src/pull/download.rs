//! Blobs of layers from the registry into the store, a few at a time.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kiln_disk::{Patience, Store};
use kiln_oci::{Descriptor, Reference};
use kiln_registry::Client;

use super::arrival::Arrival;
use super::error::{PullError, Result};
use super::{PullEvent, PullObserver, waiting};

/// How many blobs of one image are downloaded at once.
pub(super) const PARALLEL_DOWNLOADS: usize = 4;

const BUFFER_BYTES: usize = 128 << 10;
const REPORT_EVERY_BYTES: u64 = 1 << 20;

/// The downloads of one image, in the order in which they are needed.
pub(super) struct Downloads<'a> {
    pub store: &'a Store,
    pub client: &'a Client,
    pub reference: &'a Reference,
    pub observer: PullObserver<'a>,
    pub wanted: &'a [(&'a Descriptor, Arrival)],
    pub next: AtomicUsize,
    pub stopped: AtomicBool,
}

impl Downloads<'_> {
    /// Downloads until nothing is left; run by several threads.
    pub fn work(&self) {
        while let Some((descriptor, arrival)) =
            self.wanted.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            match self.is_stopped() {
                true => arrival.fail(self.stopped_error()),
                false => {
                    if let Err(error) = self.fetch(descriptor, arrival) {
                        arrival.fail(error);
                    }
                }
            }
        }
    }

    /// Makes the workers end soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn stopped_error(&self) -> PullError {
        let image = self.reference.familiar();
        PullError::Registry {
            image,
            source: Box::new(kiln_registry::Error::Cancelled),
        }
    }

    fn fetch(&self, descriptor: &Descriptor, arrival: &Arrival) -> Result<()> {
        if self.take_stored(descriptor, arrival)? {
            return Ok(());
        }
        let mut tell = waiting(&descriptor.digest, self.observer);
        let name = format!("blob {}", descriptor.digest);
        let _lock = self.store.lock_key(&name, |holder| {
            tell(holder);
            match self.is_stopped() {
                true => Patience::GiveUp,
                false => Patience::Wait,
            }
        })?;
        match self.take_stored(descriptor, arrival)? {
            true => Ok(()),
            false => self.download(descriptor, arrival),
        }
    }

    /// Whether the store has the blob already.
    fn take_stored(&self, descriptor: &Descriptor, arrival: &Arrival) -> Result<bool> {
        let blobs = self.store.blobs();
        if !blobs
            .size(&descriptor.digest)
            .is_ok_and(|size| size == descriptor.size)
        {
            return Ok(false);
        }
        arrival.complete(Arc::new(blobs.open(&descriptor.digest)?));
        Ok(true)
    }

    fn download(&self, descriptor: &Descriptor, arrival: &Arrival) -> Result<()> {
        let image = self.reference.familiar();
        let registry = |source| PullError::Registry {
            image: image.clone(),
            source: Box::new(source),
        };
        let reader = self
            .client
            .blob(self.reference, descriptor)
            .map_err(registry)?;
        // The writer hashes what it stores; once is enough.
        let mut reader = reader.without_digest_check();
        let mut writer = self.store.blobs().ingest()?;
        let path = writer.path();
        let disk = |action| {
            let path = path.clone();
            move |source| kiln_disk::Error::Io {
                action,
                path,
                source,
            }
        };
        let file = Arc::new(File::open(&path).map_err(disk("open"))?);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut reported = 0;
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PullError::reading(&image, error, &descriptor.digest)),
            };
            if self.is_stopped() {
                return Err(self.stopped_error());
            }
            writer.write_all(&buffer[..count]).map_err(disk("write"))?;
            arrival.progress(&file, writer.size());
            if writer.size() - reported >= REPORT_EVERY_BYTES {
                reported = writer.size();
                self.report(descriptor, reported);
            }
        }
        let committed = writer.commit(Some((&descriptor.digest, descriptor.size)));
        committed.map_err(|error| self.wrong_content(error))?;
        self.report(descriptor, descriptor.size);
        arrival.complete(file);
        Ok(())
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
