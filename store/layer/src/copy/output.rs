//! Where the archive of what is copied goes: pieces that are hashed here or by another thread.

use std::fs::File;
use std::io::{self, Write};
use std::mem;

use crossbeam_channel::{Receiver, Sender};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::recording::ArchiveHash;
use crate::archive::padding;

/// Bytes of an archive that are hashed at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes that are asked for at once of a larger file.
const PART_BYTES: usize = 128 * 1024;

/// Where bytes of the archive go.
pub(super) struct Output<'a> {
    pub chunk: Vec<u8>,
    pub drain: Drain<'a>,
}

pub(super) enum Drain<'a> {
    Nowhere,
    Hash(&'a mut ArchiveHash),
    Hasher {
        sender: Sender<Vec<u8>>,
        used: &'a Receiver<Vec<u8>>,
    },
}

impl<'a> Drain<'a> {
    pub fn of(output: Option<Sender<Vec<u8>>>, used: &'a Receiver<Vec<u8>>) -> Self {
        match output {
            Some(sender) => Drain::Hasher { sender, used },
            None => Drain::Nowhere,
        }
    }
}

impl Output<'_> {
    pub fn append(&mut self, bytes: &[u8]) {
        self.chunk.extend_from_slice(bytes);
    }

    /// Makes room for `bytes` more, so that they can be read in one go.
    pub fn make_room(&mut self, bytes: usize) {
        if self.chunk.len() + bytes > self.chunk.capacity() {
            self.flush();
            self.chunk.reserve(bytes.max(CHUNK_BYTES));
        }
    }

    pub fn flush_if_full(&mut self) {
        if self.chunk.len() >= CHUNK_BYTES / 2 {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
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
pub(super) fn copy_small(
    from: &File,
    to: &mut File,
    size: u64,
    output: &mut Output<'_>,
) -> io::Result<bool> {
    output.make_room(size as usize + padding(size).len());
    let size = size as usize;
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
pub(super) fn read_parts(
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
