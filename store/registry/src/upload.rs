//! Blobs on their way out: there already, mounted from a neighbour, or sent.
//!
//! Large ones go in several requests; an upload that breaks goes on where the registry says.
//! Specification: OCI distribution-spec, "Pushing blobs".

use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use kiln_oci::{Descriptor, Reference};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::error::{Cause, Error, Result};
use crate::http::{Open, Payload, location};
use crate::retry::{Attempts, Fault};
use crate::stream::Outcome;
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
    pub descriptor: &'a Descriptor,
    pub open: Open<'a>,
}

/// What is larger goes in several requests, so that a broken one costs no more than this.
const LARGEST_REQUEST_BYTES: u64 = 64 << 20;

/// How far an upload has come, and where it goes on.
struct Session {
    location: Url,
    position: u64,
    /// How much goes into the next request.
    chunk_bytes: u64,
}

impl Upload<'_> {
    /// Brings the blob there in the cheapest way.
    pub async fn push(&self, mount_from: Option<&Reference>) -> Result<Pushed> {
        let scopes = [self.endpoint.scope("pull,push")];
        if self.exists(&scopes).await? {
            return Ok(Pushed::Existed);
        }
        let source = mount_from
            .map(Reference::repository)
            .filter(|name| *name != self.endpoint.repository);
        if let Some(source) = source
            && self.mount(source, &scopes).await
        {
            return Ok(Pushed::Mounted);
        }
        self.upload(&scopes).await.map(|()| Pushed::Uploaded)
    }

    async fn exists(&self, scopes: &[String]) -> Result<bool> {
        let url = self
            .endpoint
            .url(&format!("blobs/{}", self.descriptor.digest));
        let mut call = Call::new(self.endpoint, Method::HEAD, url, scopes);
        call.accepted = Some(StatusCode::NOT_FOUND);
        let response = self.transport.send(&call).await?;
        Ok(response.status().is_success())
    }

    /// Asks the registry to take the blob from `source`; a refusal only means to upload.
    async fn mount(&self, source: &str, scopes: &[String]) -> bool {
        let mut scopes = scopes.to_vec();
        scopes.push(format!("repository:{source}:pull"));
        let mut url = self.endpoint.url("blobs/uploads/");
        url.query_pairs_mut()
            .append_pair("mount", &self.descriptor.digest.to_string())
            .append_pair("from", source);
        let call = Call::new(self.endpoint, Method::POST, url, &scopes);
        let response = self.transport.attempt(&call).await;
        // 202 begins an upload instead, which the registry forgets after a while.
        response.is_ok_and(|response| response.status() == StatusCode::CREATED)
    }

    async fn upload(&self, scopes: &[String]) -> Result<()> {
        let mut attempts = Attempts::default();
        let mut session = self.begin(scopes).await?;
        loop {
            let begun_at = session.position;
            let fault = match self.request(&mut session, scopes).await? {
                Ok(Done::All) => return Ok(()),
                Ok(Done::Part) => {
                    attempts = Attempts::default();
                    continue;
                }
                Err(fault) => fault,
            };
            let in_parts = session.chunk_bytes < self.descriptor.size;
            if in_parts && is_refusal_of_parts(&fault) {
                // Some registries take a blob in one request only.
                session = self.begin(scopes).await?;
                session.chunk_bytes = self.descriptor.size;
                continue;
            }
            let mut call = self.part(&session, begun_at..self.descriptor.size, scopes);
            if self.descriptor.size - begun_at <= session.chunk_bytes {
                call.method = Method::PUT;
            }
            let waited = self.transport.pause_or_fail(&call, &mut attempts, fault);
            waited.await?;
            session = self.go_on(&session, scopes).await?;
        }
    }

    /// Begins an upload.
    async fn begin(&self, scopes: &[String]) -> Result<Session> {
        let url = self.endpoint.url("blobs/uploads/");
        let call = Call::new(self.endpoint, Method::POST, url, scopes);
        let response = self.transport.send(&call).await?;
        let location = location(response.url(), response.headers());
        let location = location.map_err(|fault| call.error(1, fault.cause))?;
        let asked = number(response.headers(), "oci-chunk-min-length").unwrap_or(0);
        Ok(Session {
            location,
            position: 0,
            chunk_bytes: LARGEST_REQUEST_BYTES.max(asked),
        })
    }

    /// Sends what goes into one request.
    async fn request(&self, session: &mut Session, scopes: &[String]) -> Outcome<Done> {
        let left = self.descriptor.size - session.position;
        let is_last = left <= session.chunk_bytes;
        let failure = Mutex::new(None);
        let part = session.position..session.position + left.min(session.chunk_bytes);
        let mut call = self.part(session, part.clone(), scopes);
        if is_last {
            call.method = Method::PUT;
            let digest = self.descriptor.digest.to_string();
            call.url.query_pairs_mut().append_pair("digest", &digest);
        }
        call.payload = Payload::Stream {
            range: part.clone(),
            open: self.open,
            failure: &failure,
        };
        let answer = self.transport.attempt(&call).await;
        let broken = failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(source) = broken {
            let digest = self.descriptor.digest.clone();
            return Err(Error::Source { digest, source });
        }
        let response = match answer {
            Ok(response) => response,
            Err(fault) => return Ok(Err(fault)),
        };
        if is_last {
            return Ok(Ok(Done::All));
        }
        session.position = part.end;
        match location(response.url(), response.headers()) {
            Ok(next) => session.location = next,
            Err(fault) => return Err(call.error(1, fault.cause)),
        }
        Ok(Ok(Done::Part))
    }

    fn part<'a>(&'a self, session: &Session, part: Range<u64>, scopes: &'a [String]) -> Call<'a> {
        let url = session.location.clone();
        let mut call = Call::new(self.endpoint, Method::PATCH, url, scopes);
        let kind = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(CONTENT_TYPE, kind);
        if part != (0..self.descriptor.size)
            && let Ok(range) = format!("{}-{}", part.start, part.end.saturating_sub(1)).parse()
        {
            call.headers.insert(CONTENT_RANGE, range);
        }
        call
    }

    /// Returns where a broken upload goes on: where the registry says, else at the beginning.
    async fn go_on(&self, broken: &Session, scopes: &[String]) -> Result<Session> {
        let url = broken.location.clone();
        let call = Call::new(self.endpoint, Method::GET, url, scopes);
        let Ok(response) = self.transport.attempt(&call).await else {
            return self.begin_anew(broken, scopes).await;
        };
        let position = received(response.headers());
        let location = location(response.url(), response.headers());
        match (position, location) {
            (Some(position), location) if position < self.descriptor.size => Ok(Session {
                location: location.unwrap_or_else(|_| broken.location.clone()),
                position,
                chunk_bytes: broken.chunk_bytes,
            }),
            _ => self.begin_anew(broken, scopes).await,
        }
    }

    async fn begin_anew(&self, broken: &Session, scopes: &[String]) -> Result<Session> {
        let begun = self.begin(scopes).await?;
        Ok(Session {
            chunk_bytes: broken.chunk_bytes.max(begun.chunk_bytes),
            ..begun
        })
    }
}

/// What a request has brought there.
enum Done {
    Part,
    All,
}

/// Whether a registry that answers so may take the blob in one request.
fn is_refusal_of_parts(fault: &Fault) -> bool {
    let Cause::Status { code, .. } = fault.cause else {
        return false;
    };
    matches!(code, 400 | 404 | 405 | 411 | 415 | 416 | 501)
}

/// Returns how many bytes came, as `Range: 0-99` says: that are 100, but none for `0-0`.
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    match text.split_once('-')? {
        ("0", "0") => Some(0),
        ("0", last) => Some(last.parse::<u64>().ok()? + 1),
        _ => None,
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

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
