//! Blobs that are checked again when they are read.

use std::fs::File;
use std::io::{self, Read};

use kiln_oci::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

use crate::blobs::digest_of;
use crate::error::{At, Error, Result};
use crate::{Blobs, Store};

impl Blobs<'_> {
    /// Opens the blob for reading all of it: at its end an error says whether something else
    /// was read than had come in.
    pub fn open_checked(&self, digest: &Digest) -> Result<CheckedBlob> {
        let file = self.open(digest)?;
        let left = file.metadata().at("examine", &self.path(digest))?.len();
        Ok(CheckedBlob {
            store: self.store().clone(),
            digest: digest.clone(),
            file,
            left,
            hasher: match digest.algorithm() {
                Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
                Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
            },
        })
    }

    /// Reads all of the blob and looks whether it is what had come in.
    ///
    /// Errors: [`Error::BlobMissing`]; [`Error::BlobDamaged`], and then it is set aside.
    pub fn check(&self, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        let found = digest_of(&mut self.open(digest)?, digest.algorithm()).at("read", &path)?;
        match found == *digest {
            true => Ok(()),
            false => Err(self.damaged(digest, found)),
        }
    }

    /// Returns whether the blob is there and sound; a damaged one is set aside and told of.
    pub fn is_sound(&self, digest: &Digest) -> Result<bool> {
        self.told(self.check(digest)).map(|sound| sound.is_some())
    }

    /// Like [`Blobs::read`], for who can get the blob elsewhere: a damaged one is told of and
    /// counts as none.
    pub fn read_if_sound(&self, digest: &Digest, maximum_bytes: u64) -> Result<Option<Vec<u8>>> {
        self.told(self.read(digest, maximum_bytes))
    }

    /// Sets aside a blob that turned out to have the digest `found`; returns the error.
    pub(crate) fn damaged(&self, digest: &Digest, found: Digest) -> Error {
        // On a store that cannot be written it stays, and is noticed again.
        let _ = self.store().set_aside(&self.path(digest));
        Error::BlobDamaged {
            expected: digest.clone(),
            found,
        }
    }

    fn told<T>(&self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(Error::BlobMissing(_)) => Ok(None),
            Err(error @ Error::BlobDamaged { .. }) => {
                self.store().warn(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A blob that is read to its end once, and hashed on the way.
///
/// The read of its last byte fails with [`Error::BlobDamaged`] if it is not what had come in.
#[derive(Debug)]
pub struct CheckedBlob {
    store: Store,
    digest: Digest,
    file: File,
    /// How many bytes are still to be read.
    left: u64,
    hasher: Hasher,
}

#[derive(Debug)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
    /// The end was reached.
    Done,
}

impl CheckedBlob {
    fn finish(&mut self) -> Result<()> {
        let found = match std::mem::replace(&mut self.hasher, Hasher::Done) {
            Hasher::Sha256(hasher) => Digest::from_sha256(hasher.finalize().into()),
            Hasher::Sha512(hasher) => Digest::from_sha512(hasher.finalize().into()),
            Hasher::Done => return Ok(()),
        };
        match found == self.digest {
            true => Ok(()),
            false => Err(self.store.blobs().damaged(&self.digest, found)),
        }
    }
}

impl Read for CheckedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(&buffer[..count]),
            Hasher::Sha512(hasher) => hasher.update(&buffer[..count]),
            Hasher::Done => {}
        }
        self.left = self.left.saturating_sub(count as u64);
        // Who knows the size does not ask for the end.
        if self.left == 0 || count == 0 && !buffer.is_empty() {
            self.finish().map_err(io::Error::other)?;
        }
        Ok(count)
    }
}
