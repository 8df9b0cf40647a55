//! An ordered, bounded pipeline: blocks are hashed and compressed by threads while the next
//! ones are produced, and written in their order.
//!
//! ```text
//! producer ─▶ blocks ─┬─▶ diff id hash
//!                     └─▶ compressor 1..n ─▶ (in order) digest hash ─▶ sink
//! ```

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use super::Compression;
use super::block::{BlockCompressor, block_bytes};
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
        let threads = self.threads.max(1);
        let (hash_sender, hash_receiver) = bounded::<Block>(threads + 1);
        let (job_sender, job_receiver) = bounded::<Job>(threads);
        let (order_sender, order_receiver) = bounded::<Receiver<Compressed>>(threads * 2);
        thread::scope(|scope| {
            let hash = scope.spawn(|| hash_blocks(hash_receiver));
            for _ in 0..threads {
                let jobs = job_receiver.clone();
                scope.spawn(move || compress_blocks(self.compression, jobs));
            }
            drop(job_receiver);
            let output = scope.spawn(move || write_in_order(order_receiver, sink));
            let mut blocks = BlockWriter {
                block: Vec::new(),
                limit: block_bytes(self.compression),
                queues: Queues {
                    hash_sender,
                    job_sender,
                    order_sender,
                },
                any: false,
            };
            let produced = produce(&mut blocks);
            let finished = if produced.is_ok() {
                blocks.finish()
            } else {
                drop_queues(blocks)
            };
            let (uncompressed, uncompressed_size) = joined(hash.join())?;
            let (compressed, compressed_size) = joined(output.join())??;
            let value = produced?;
            finished?;
            let output = PipelineOutput {
                uncompressed,
                uncompressed_size,
                compressed,
                compressed_size,
            };
            Ok((output, value))
        })
    }
}

/// Ends the threads: their queues close.
fn drop_queues(blocks: BlockWriter) -> io::Result<()> {
    drop(blocks);
    Ok(())
}

fn joined<T>(result: thread::Result<T>) -> io::Result<T> {
    result.map_err(|_| io::Error::other("a compression thread panicked"))
}

fn hash_blocks(blocks: Receiver<Block>) -> (Digest, u64) {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    for block in blocks {
        hasher.update(block.as_slice());
        size += block.len() as u64;
    }
    (Digest::from_sha256(hasher.finalize().into()), size)
}

fn compress_blocks(compression: Compression, jobs: Receiver<Job>) {
    let mut compressor = BlockCompressor::new(compression);
    for Job { block, reply } in jobs {
        let compressed = match &mut compressor {
            Ok(Some(compressor)) => compressor.compress(&block),
            Ok(None) => Ok(Arc::unwrap_or_clone(block)),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // The writer is gone only after it failed; its error is the one that counts.
        let _ = reply.send(compressed);
    }
}

fn write_in_order(
    order: Receiver<Receiver<Compressed>>,
    sink: &mut (impl Write + Send),
) -> io::Result<(Digest, u64)> {
    let mut writer = DigestWriter::new(sink);
    for reply in order {
        let compressed = reply
            .recv()
            .map_err(|_| io::Error::other("a compressor stopped"))??;
        writer.write_all(&compressed)?;
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
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the compressed side has ended");
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
struct BlockWriter {
    block: Vec<u8>,
    limit: usize,
    queues: Queues,
    any: bool,
}

impl BlockWriter {
    /// Sends the last block. Empty input is one empty block, so that the output is a valid file.
    fn finish(mut self) -> io::Result<()> {
        match self.block.is_empty() && self.any {
            true => Ok(()),
            false => self.send(),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        self.any = true;
        self.queues.send(std::mem::take(&mut self.block))
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(self.limit);
        }
        let taken = bytes.len().min(self.limit - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == self.limit {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
