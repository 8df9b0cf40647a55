//! An ordered, bounded pipeline: blocks are hashed and compressed by threads while the next
//! ones are produced, and written in their order.
//!
//! ```text
//! producer ─▶ blocks ─┬─▶ diff id hash
//!                     └─▶ compressor 1..n ─▶ (in order) digest hash ─▶ sink
//! ```
//!
//! Buffers go round, as new ones would have to be given pages by the kernel again and again.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use super::Compression;
use super::block::{BlockCompressor, block_bytes};
use super::buffers::Buffers;
use crate::digest::DigestWriter;

/// What a pipeline is made of.
pub(crate) struct Pipeline {
    pub(crate) compression: Compression,
    pub(crate) threads: usize,
}

/// What went in and what came out.
pub(crate) struct PipelineOutput {
    pub(crate) uncompressed: Digest,
    pub(crate) uncompressed_size: u64,
    pub(crate) compressed: Digest,
    pub(crate) compressed_size: u64,
}

type Block = Arc<Vec<u8>>;
type Compressed = io::Result<Vec<u8>>;

struct Job {
    block: Block,
    reply: Sender<Compressed>,
}

/// Blocks that wait to be written when none is compressed.
const WAITING_BLOCKS: usize = 4;

impl Pipeline {
    /// Runs `produce` on this thread and writes what it wrote, compressed, to `sink`.
    ///
    /// A failure of the sink or of the compressor is the result even when the producer failed
    /// too, as it is then what made the producer fail.
    pub(crate) fn run<T, E, W>(
        &self,
        sink: &mut W,
        produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(PipelineOutput, T), E>
    where
        E: From<io::Error>,
        W: Write + Send,
    {
        match self.compression {
            Compression::None => self.pass_on(sink, produce),
            _ => self.compress(sink, produce),
        }
    }

    /// Writes what is produced as it is: it is hashed once.
    fn pass_on<T, E, W>(
        &self,
        sink: &mut W,
        produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(PipelineOutput, T), E>
    where
        E: From<io::Error>,
        W: Write + Send,
    {
        let buffers = Buffers::new(WAITING_BLOCKS);
        let (sender, receiver) = bounded(WAITING_BLOCKS);
        thread::scope(|scope| {
            let used = &buffers;
            let output = scope.spawn(move || write_blocks(&receiver, used, sink));
            let send = |block| sender.send(block).map_err(|_| gone());
            let produced = Blocks::produce(self.compression, &buffers, send, produce);
            drop(sender);
            let (digest, size) = joined(output.join())??;
            let output = PipelineOutput {
                uncompressed: digest.clone(),
                uncompressed_size: size,
                compressed: digest,
                compressed_size: size,
            };
            Ok((output, produced?))
        })
    }

    fn compress<T, E, W>(
        &self,
        sink: &mut W,
        produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(PipelineOutput, T), E>
    where
        E: From<io::Error>,
        W: Write + Send,
    {
        let threads = self.threads.max(1);
        let (hash_sender, hash_receiver) = bounded::<Block>(threads + 1);
        let (job_sender, job_receiver) = bounded::<Job>(threads);
        let (order_sender, order_receiver) = bounded::<Receiver<Compressed>>(threads * 2);
        let (blocks, outputs) = (Buffers::new(threads * 3), Buffers::new(threads * 3));
        thread::scope(|scope| {
            let (blocks, outputs) = (&blocks, &outputs);
            let hash = scope.spawn(move || hash_blocks(&hash_receiver, blocks));
            for _ in 0..threads {
                let jobs = job_receiver.clone();
                scope.spawn(move || compress_blocks(self.compression, &jobs, blocks, outputs));
            }
            drop(job_receiver);
            let output = scope.spawn(move || write_in_order(&order_receiver, outputs, sink));
            let queues = Queues {
                hash_sender,
                job_sender,
                order_sender,
            };
            let send = |block| queues.send(block);
            let produced = Blocks::produce(self.compression, blocks, send, produce);
            drop(queues);
            let (uncompressed, uncompressed_size) = joined(hash.join())?;
            let (compressed, compressed_size) = joined(output.join())??;
            let output = PipelineOutput {
                uncompressed,
                uncompressed_size,
                compressed,
                compressed_size,
            };
            Ok((output, produced?))
        })
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the compressed side has ended")
}

fn joined<T>(result: thread::Result<T>) -> io::Result<T> {
    result.map_err(|_| io::Error::other("a compression thread panicked"))
}

fn write_blocks(
    blocks: &Receiver<Vec<u8>>,
    used: &Buffers,
    sink: &mut impl Write,
) -> io::Result<(Digest, u64)> {
    let mut writer = DigestWriter::new(sink);
    for block in blocks {
        writer.write_all(&block)?;
        used.give_back(block);
    }
    writer.flush()?;
    let (_, digest, size) = writer.finish();
    Ok((digest, size))
}

fn hash_blocks(blocks: &Receiver<Block>, used: &Buffers) -> (Digest, u64) {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    for block in blocks {
        hasher.update(block.as_slice());
        size += block.len() as u64;
        used.give_back_shared(block);
    }
    (Digest::from_sha256(hasher.finalize().into()), size)
}

fn compress_blocks(
    compression: Compression,
    jobs: &Receiver<Job>,
    used: &Buffers,
    outputs: &Buffers,
) {
    let mut compressor = BlockCompressor::new(compression);
    for Job { block, reply } in jobs {
        let compressed = match &mut compressor {
            Ok(Some(compressor)) => {
                let mut output = outputs.take();
                compressor.compress(&block, &mut output).map(|()| output)
            }
            Ok(None) => Ok(block.to_vec()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        used.give_back_shared(block);
        // The writer is gone only after it failed; its error is the one that counts.
        let _ = reply.send(compressed);
    }
}

fn write_in_order(
    order: &Receiver<Receiver<Compressed>>,
    used: &Buffers,
    sink: &mut impl Write,
) -> io::Result<(Digest, u64)> {
    let mut writer = DigestWriter::new(sink);
    for reply in order {
        let compressed = reply
            .recv()
            .map_err(|_| io::Error::other("a compressor stopped"))??;
        writer.write_all(&compressed)?;
        used.give_back(compressed);
    }
    writer.flush()?;
    let (_, digest, size) = writer.finish();
    Ok((digest, size))
}

struct Queues {
    hash_sender: Sender<Block>,
    job_sender: Sender<Job>,
    order_sender: Sender<Receiver<Compressed>>,
}

impl Queues {
    fn send(&self, block: Vec<u8>) -> io::Result<()> {
        let block = Arc::new(block);
        let (reply, receiver) = bounded(1);
        self.hash_sender.send(block.clone()).map_err(|_| gone())?;
        self.order_sender.send(receiver).map_err(|_| gone())?;
        self.job_sender
            .send(Job { block, reply })
            .map_err(|_| gone())
    }
}

/// Cuts what is written into blocks of one size.
struct Blocks<'a, S> {
    block: Vec<u8>,
    limit: usize,
    buffers: &'a Buffers,
    send: S,
    any: bool,
}

impl<'a, S: FnMut(Vec<u8>) -> io::Result<()>> Blocks<'a, S> {
    /// Hands what `produce` writes to `send`. Nothing is one empty block, so that the output is
    /// a valid file.
    fn produce<T, E: From<io::Error>>(
        compression: Compression,
        buffers: &'a Buffers,
        send: S,
        produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut blocks = Self {
            block: Vec::new(),
            limit: block_bytes(compression),
            buffers,
            send,
            any: false,
        };
        let produced = produce(&mut blocks)?;
        if !blocks.block.is_empty() || !blocks.any {
            blocks.pass_on()?;
        }
        Ok(produced)
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.any = true;
        (self.send)(std::mem::take(&mut self.block))
    }
}

impl<S: FnMut(Vec<u8>) -> io::Result<()>> Write for Blocks<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block = self.buffers.take();
            self.block.reserve_exact(self.limit);
        }
        let taken = bytes.len().min(self.limit - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == self.limit {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
