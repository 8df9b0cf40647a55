//! What is sent of a file: pieces that a thread of its own reads.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

/// Returns `source` without its first bytes: for sources that can only be read.
pub fn skipping(mut source: Box<dyn Read + Send>, bytes: u64) -> io::Result<Box<dyn Read + Send>> {
    io::copy(&mut (&mut source).take(bytes), &mut io::sink())?;
    Ok(source)
}

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 4;

/// The chunks of a file that a thread reads.
pub(crate) struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    sent: Arc<AtomicU64>,
}

/// Marks an error of the source among those of the connection.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct SourceError(io::Error);

/// Reads `source` on a thread of its own; counts in `sent` what the connection has taken.
pub(crate) fn stream(mut source: Box<dyn Read + Send>, sent: Arc<AtomicU64>) -> Chunks {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    // Ends when the source ends or nobody listens any more.
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = (&mut source)
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut chunk);
            let message = match read {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(chunk)),
                Err(error) => Err(io::Error::other(SourceError(error))),
            };
            let failed = message.is_err();
            if sender.blocking_send(message).is_err() || failed {
                return;
            }
        }
    });
    Chunks { receiver, sent }
}

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.receiver.poll_recv(context);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        polled
    }
}

/// Returns the error of the source that broke the connection, if it was that.
pub(crate) fn source_error(error: &reqwest::Error) -> Option<io::Error> {
    let mut reason = std::error::Error::source(error);
    while let Some(current) = reason {
        let inner = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(SourceError(source)) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(io::Error::new(source.kind(), source.to_string()));
        }
        reason = current.source();
    }
    None
}
