//! Blobs that become far larger than they are.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_disk::FREE_EXPANSION_BYTES;

/// How many bytes of a blob were read.
pub(crate) type Counter = Arc<AtomicU64>;

/// Counts what is read of a blob.
pub(crate) struct Counted<R> {
    pub input: R,
    pub read: Counter,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// What a blob becomes; fails once that is too many times what was read of the blob.
pub(crate) struct Expanding<R> {
    pub input: R,
    pub read: Counter,
    pub produced: u64,
    /// How many times its size it may become.
    pub ratio: u64,
}

impl<R: Read> Read for Expanding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.produced += count as u64;
        if self.produced > FREE_EXPANSION_BYTES && self.is_too_much() {
            let ratio = self.ratio;
            let text = format!("the layer becomes more than {ratio} times as large as its blob");
            return Err(io::Error::other(text));
        }
        Ok(count)
    }
}

impl<R> Expanding<R> {
    fn is_too_much(&self) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        self.produced > read.saturating_mul(self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_blob_may_become_large_but_not_endless() {
        let becomes = |produced, read: u64| {
            let mut expanding = Expanding {
                input: &[1][..],
                read: Arc::new(AtomicU64::new(read)),
                produced,
                ratio: 5000,
            };
            expanding.read(&mut [0]).map_err(|error| error.to_string())
        };
        assert_eq!(becomes(FREE_EXPANSION_BYTES - 1, 1), Ok(1));
        assert_eq!(
            becomes(FREE_EXPANSION_BYTES, FREE_EXPANSION_BYTES / 4000),
            Ok(1)
        );
        let expected = "the layer becomes more than 5000 times as large as its blob";
        assert_eq!(
            becomes(FREE_EXPANSION_BYTES, 1000),
            Err(expected.to_owned())
        );
    }
}
