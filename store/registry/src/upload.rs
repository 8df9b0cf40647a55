//! Blobs on their way out: there already, mounted from a neighbour, or sent in one piece.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use kiln_oci::{Descriptor, Reference};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::http::{Open, Payload, location};
use crate::retry::Fault;
use crate::transport::{Call, Transport};

/// How a blob came to be in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// A blob to be pushed, and where to.
pub(crate) struct Upload<'a> {
    pub transport: &'a Transport,
    pub endpoint: &'a Endpoint,
    pub repository: &'a str,
    pub descriptor: &'a Descriptor,
    pub open: Open<'a>,
}

impl Upload<'_> {
    /// Brings the blob there in the cheapest way.
    pub async fn push(&self, mount_from: Option<&Reference>) -> Result<Pushed> {
        let scopes = vec![format!("repository:{}:pull,push", self.repository)];
        if self.exists(&scopes).await? {
            return Ok(Pushed::Existed);
        }
        let source = mount_from
            .map(Reference::repository)
            .filter(|name| *name != self.repository);
        if let Some(source) = source
            && self.mount(source, &scopes).await
        {
            return Ok(Pushed::Mounted);
        }
        self.upload(&scopes).await.map(|()| Pushed::Uploaded)
    }

    fn url(&self, rest: &str) -> Url {
        self.endpoint.url(self.repository, rest)
    }

    async fn exists(&self, scopes: &[String]) -> Result<bool> {
        let url = self.url(&format!("blobs/{}", self.descriptor.digest));
        let mut call = Call::new(self.endpoint, Method::HEAD, url, scopes);
        call.accepted = Some(StatusCode::NOT_FOUND);
        let response = self.transport.send(&call).await?;
        Ok(response.status().is_success())
    }

    /// Asks the registry to take the blob from `source`; a refusal only means to upload.
    async fn mount(&self, source: &str, scopes: &[String]) -> bool {
        let mut scopes = scopes.to_vec();
        scopes.push(format!("repository:{source}:pull"));
        let mut url = self.url("blobs/uploads/");
        url.query_pairs_mut()
            .append_pair("mount", &self.descriptor.digest.to_string())
            .append_pair("from", source);
        let call = Call::new(self.endpoint, Method::POST, url, &scopes);
        let response = self.transport.attempt(&call).await;
        // 202 begins an upload instead, which the registry forgets after a while.
        response.is_ok_and(|response| response.status() == StatusCode::CREATED)
    }

    async fn upload(&self, scopes: &[String]) -> Result<()> {
        let failure = Mutex::new(None);
        for attempt in 1.. {
            let begun = Call::new(
                self.endpoint,
                Method::POST,
                self.url("blobs/uploads/"),
                scopes,
            );
            let response = self.transport.send(&begun).await?;
            let target = location(response.url(), response.headers());
            let target = target.map_err(|fault| begun.error(1, fault.cause))?;
            let call = self.put(target, scopes, &failure);
            let fault = match self.transport.attempt(&call).await {
                Ok(_) => return Ok(()),
                Err(fault) => fault,
            };
            if let Some(source) = failure
                .lock()
                .unwrap_or_else(|poison| poison.into_inner())
                .take()
            {
                return Err(Error::Source {
                    digest: self.descriptor.digest.clone(),
                    source,
                });
            }
            self.pause_or_fail(&call, attempt, fault).await?;
        }
        Ok(())
    }

    fn put<'b>(
        &'b self,
        mut target: Url,
        scopes: &'b [String],
        failure: &'b Mutex<Option<io::Error>>,
    ) -> Call<'b> {
        target
            .query_pairs_mut()
            .append_pair("digest", &self.descriptor.digest.to_string());
        let mut call = Call::new(self.endpoint, Method::PUT, target, scopes);
        let kind = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(CONTENT_TYPE, kind);
        call.payload = Payload::Stream {
            size: self.descriptor.size,
            open: self.open,
            failure,
        };
        call
    }

    async fn pause_or_fail(&self, call: &Call<'_>, attempt: u32, fault: Fault) -> Result<()> {
        match fault.pause(attempt, &self.transport.policy) {
            Some(pause) => {
                self.transport.wait(call, pause, &fault).await;
                Ok(())
            }
            None => Err(call.error(attempt, fault.cause)),
        }
    }
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
