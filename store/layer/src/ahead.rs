//! Reading ahead: one thread decompresses and hashes while another unpacks.

use std::io::{self, Read};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 8;

/// Calls `consume` with a reader of what `source` gives, while a thread reads it ahead.
///
/// Returns what `consume` returned, and the digest and size of everything that was read. If
/// `consume` did not read to the end, these cover what was read ahead, and no more.
pub fn read_ahead<R, T>(source: R, consume: impl FnOnce(&mut ReadAhead) -> T) -> (T, Digest, u64)
where
    R: Read + Send,
{
    let (full_sender, full) = bounded(CHUNKS_AHEAD);
    let (empty, empty_receiver) = bounded(CHUNKS_AHEAD);
    thread::scope(|scope| {
        let reading = scope.spawn(move || read_chunks(source, &full_sender, &empty_receiver));
        let mut reader = ReadAhead {
            full,
            empty,
            chunk: Chunk::default(),
        };
        let value = consume(&mut reader);
        drop(reader);
        match reading.join() {
            Ok((digest, size)) => (value, digest, size),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Gives what was read ahead.
pub struct ReadAhead {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    chunk: Chunk,
}

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    used: usize,
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.used == self.chunk.bytes.len() {
            // Without a further chunk this is the end: an error would have been one.
            let Ok(next) = self.full.recv() else {
                return Ok(0);
            };
            let used_up = std::mem::replace(&mut self.chunk.bytes, next?);
            self.chunk.used = 0;
            // The other side may have ended, and needs no buffers then.
            let _ = self.empty.try_send(used_up);
        }
        let rest = &self.chunk.bytes[self.chunk.used..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.chunk.used += length;
        Ok(length)
    }
}

/// Sends chunks until the source ends or fails, or nobody wants more.
fn read_chunks(
    mut source: impl Read,
    full: &Sender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> (Digest, u64) {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let filled = fill(&mut source, &mut chunk);
        let ended = !matches!(filled, Ok(length) if length == CHUNK_BYTES);
        let message = filled.map(|length| {
            chunk.truncate(length);
            hasher.update(&chunk);
            size += length as u64;
            chunk
        });
        let empty_end = matches!(&message, Ok(chunk) if chunk.is_empty());
        if (!empty_end && full.send(message).is_err()) || ended {
            return (Digest::from_sha256(hasher.finalize().into()), size);
        }
    }
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order_with_their_digest() {
        for length in [0, 1, CHUNK_BYTES, 5 * CHUNK_BYTES + 3] {
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let (read, digest, size) = read_ahead(&bytes[..], |reader| {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map(|_| read)
            });
            assert!(read.unwrap() == bytes);
            assert_eq!((digest, size), (Digest::sha256(&bytes), length as u64));
        }
    }

    #[test]
    fn an_error_of_the_source_arrives_behind_the_bytes_before_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let (result, _, _) = read_ahead(Broken, |reader| reader.read_to_end(&mut Vec::new()));
        assert_eq!(result.unwrap_err().to_string(), "broken");
    }

    #[test]
    fn a_consumer_that_stops_early_ends_an_endless_source() {
        let (first, _, _) = read_ahead(io::repeat(7), |reader| {
            let mut byte = [0];
            reader.read_exact(&mut byte).map(|()| byte[0])
        });
        assert_eq!(first.unwrap(), 7);
    }
}
