//! Content named by its digest, laid out as in an OCI image layout.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use kiln_oci::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{At, Error, Result};
use crate::session::Temporary;
use crate::{Store, durable, session};

/// The blobs of a store. What has a name here is complete, durable, and had its digest
/// when it came in; [`Store::verify`] looks whether it still has.
#[derive(Debug, Clone, Copy)]
pub struct Blobs<'store> {
    store: &'store Store,
}

impl<'store> Blobs<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Returns the store.
    pub(crate) fn store(&self) -> &'store Store {
        self.store
    }

    /// Returns the path of the blob, whether it is there or not.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let folder = digest.algorithm().as_str();
        self.store.path("blobs").join(folder).join(digest.hex())
    }

    /// Whether the blob is there; if so, nobody removes it while this store is open.
    pub fn has(&self, digest: &Digest) -> bool {
        let path = self.path(digest);
        // Without a handle to spare for the lease the blob is there all the same.
        path.is_file() && self.store.leases().take(&path).unwrap_or(true)
    }

    /// Whether this process wrote the blob, so that it need not be checked when it is read.
    pub fn was_made_here(&self, digest: &Digest) -> bool {
        self.store.made_blobs().contains(digest)
    }

    /// Returns the size of the blob in bytes.
    pub fn size(&self, digest: &Digest) -> Result<u64> {
        let path = self.path(digest);
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(missing_or(error, digest, "examine", path)),
        }
    }

    /// Opens the blob for reading. Its bytes are not checked again.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| missing_or(error, digest, "open", path))
    }

    /// Returns the bytes of a small blob: a manifest, a configuration; checked again.
    ///
    /// Errors: [`Error::BlobMissing`], [`Error::BlobDamaged`], [`Error::WrongSize`] when it
    /// has more than `maximum_bytes`.
    pub fn read(&self, digest: &Digest, maximum_bytes: u64) -> Result<Vec<u8>> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        let mut file = self.open(digest)?.take(maximum_bytes + 1);
        file.read_to_end(&mut bytes).at("read", &path)?;
        let found = bytes.len() as u64;
        if found > maximum_bytes {
            let expected_digest = digest.clone();
            return Err(Error::WrongSize {
                expected_digest,
                expected: maximum_bytes,
                found,
            });
        }
        match Digest::of(digest.algorithm(), &bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(self.damaged(digest, found)),
        }
    }

    /// Begins a new blob.
    pub fn ingest(&self) -> Result<BlobWriter> {
        self.ingest_with(Hashing::Here(Sha256::new()))
    }

    /// Begins a new blob of bytes that whoever writes it makes and hashes itself: the digest that
    /// it is committed with is believed.
    pub fn ingest_hashed(&self) -> Result<BlobWriter> {
        self.ingest_with(Hashing::Elsewhere)
    }

    fn ingest_with(&self, hashing: Hashing) -> Result<BlobWriter> {
        let temporary = self.store.temporary()?;
        let store = self.store.clone();
        Ok(BlobWriter {
            store,
            temporary,
            hashing,
            size: 0,
            begun: 0,
        })
    }

    /// Stores `bytes`, unless they are there, and returns their digest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        self.put_all(&[bytes])?;
        Ok(Digest::sha256(bytes))
    }

    /// Stores each of `contents`, unless it is there: all of them durable when this returns, in the
    /// order given. Together they wait for the disk about as long as one.
    pub fn put_all(&self, contents: &[&[u8]]) -> Result<()> {
        let mut written = Vec::new();
        for bytes in contents {
            let digest = Digest::sha256(bytes);
            if !(self.has(&digest) && self.holds(&digest, bytes)?) {
                written.push(self.written(&digest, bytes)?);
            }
        }
        for blob in &written {
            blob.temporary.sync()?;
        }
        let Some(first) = written.first() else {
            return Ok(());
        };
        // All are of one algorithm, and so in one directory.
        let path = self.path(&first.digest);
        for blob in written {
            blob.temporary.rename(&self.path(&blob.digest))?;
            self.store.made_blobs().insert(blob.digest);
        }
        path.parent().map_or(Ok(()), durable::sync_directory)
    }

    /// Writes a small blob, which has no name yet; the disk begins to take it.
    fn written(&self, digest: &Digest, bytes: &[u8]) -> Result<Unnamed> {
        let mut writer = self.ingest()?;
        let path = writer.path();
        writer.write_all(bytes).at("write", &path)?;
        durable::begin_writing(&writer.temporary.file, &mut writer.begun, writer.size);
        writer.checked(Some((digest, bytes.len() as u64)))
    }

    /// Whether the blob, if it is there, still has the content `bytes`.
    fn holds(&self, digest: &Digest, bytes: &[u8]) -> Result<bool> {
        let path = self.path(digest);
        if self.size(digest).ok() != Some(bytes.len() as u64) {
            return Ok(false);
        }
        Ok(std::fs::read(&path).at("read", &path)? == bytes)
    }

    /// Removes the blob; absent is fine.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        session::remove_tree(&self.path(digest))
    }
}

fn missing_or(source: io::Error, digest: &Digest, action: &'static str, path: PathBuf) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => Error::BlobMissing(digest.clone()),
        _ => Error::Io {
            action,
            path,
            source,
        },
    }
}

fn check_digest(expected: &Digest, found: Digest) -> Result<()> {
    match *expected == found {
        true => Ok(()),
        false => Err(Error::WrongDigest {
            expected: expected.clone(),
            found,
        }),
    }
}

/// A blob being written; dropped without [`BlobWriter::commit`] it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    temporary: Temporary,
    hashing: Hashing,
    size: u64,
    /// Up to where the kernel was told to begin writing to disk.
    begun: u64,
}

/// A blob that is complete and has no name yet.
struct Unnamed {
    temporary: Temporary,
    digest: Digest,
}

/// After how many bytes the kernel is told to write them to disk.
const BEGUN_BYTES: u64 = 16 << 20;

/// Who finds out the digest of what is written.
#[derive(Debug)]
enum Hashing {
    Here(Sha256),
    Elsewhere,
}

impl BlobWriter {
    /// Returns the path of the unfinished file, to name in errors.
    pub fn path(&self) -> PathBuf {
        self.temporary.path().to_owned()
    }

    /// Returns the number of bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives the blob its name, durably, and returns its digest.
    ///
    /// Fails, and discards the blob, unless it has the digest and the size `expected`.
    /// Takes the place of a blob that was there: a damaged one is healed. Nobody removes the
    /// blob while this store is open.
    pub fn commit(self, expected: Option<(&Digest, u64)>) -> Result<Digest> {
        let store = self.store.clone();
        let Unnamed { temporary, digest } = self.checked(expected)?;
        durable::publish(temporary, &store.blobs().path(&digest))?;
        store.made_blobs().insert(digest.clone());
        Ok(digest)
    }

    /// Checks the blob as [`BlobWriter::commit`] says, and leases it before it has its name.
    fn checked(self, expected: Option<(&Digest, u64)>) -> Result<Unnamed> {
        let digest = self.checked_digest(expected)?;
        let temporary = self.temporary;
        let read_only = Permissions::from_mode(0o444);
        let protected = temporary.file.set_permissions(read_only);
        protected.at("protect", temporary.path())?;
        let path = self.store.blobs().path(&digest);
        let file = temporary.file.try_clone().at("open", &path)?;
        self.store.leases().take_file(file, &path)?;
        Ok(Unnamed { temporary, digest })
    }

    fn checked_digest(&self, expected: Option<(&Digest, u64)>) -> Result<Digest> {
        let Some((digest, size)) = expected else {
            return self.digest(Algorithm::Sha256);
        };
        if self.size != size {
            let expected_digest = digest.clone();
            return Err(Error::WrongSize {
                expected_digest,
                expected: size,
                found: self.size,
            });
        }
        let found = match self.hashing {
            Hashing::Elsewhere => digest.clone(),
            Hashing::Here(_) => self.digest(digest.algorithm())?,
        };
        check_digest(digest, found.clone())?;
        Ok(found)
    }

    fn digest(&self, algorithm: Algorithm) -> Result<Digest> {
        match (&self.hashing, algorithm) {
            (Hashing::Here(hasher), Algorithm::Sha256) => {
                Ok(Digest::from_sha256(hasher.clone().finalize().into()))
            }
            // Rare enough to read the file once more.
            _ => {
                let path = self.temporary.path();
                let mut file = File::open(path).at("open", path)?;
                digest_of(&mut file, algorithm).at("read", path)
            }
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&self.temporary.file).write(bytes)?;
        if let Hashing::Here(hasher) = &mut self.hashing {
            hasher.update(&bytes[..written]);
        }
        let before = self.size;
        self.size += written as u64;
        if self.size / BEGUN_BYTES != before / BEGUN_BYTES {
            durable::begin_writing(&self.temporary.file, &mut self.begun, self.size);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the digest of what is left of `reader`.
pub(crate) fn digest_of(reader: &mut impl Read, algorithm: Algorithm) -> io::Result<Digest> {
    match algorithm {
        Algorithm::Sha256 => {
            let mut hasher = Sha256::new();
            feed(reader, |bytes| hasher.update(bytes))?;
            Ok(Digest::from_sha256(hasher.finalize().into()))
        }
        Algorithm::Sha512 => {
            let mut hasher = Sha512::new();
            feed(reader, |bytes| hasher.update(bytes))?;
            Ok(Digest::from_sha512(hasher.finalize().into()))
        }
    }
}

const BUFFER_BYTES: usize = 256 << 10;

fn feed(reader: &mut impl Read, mut consume: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => consume(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
