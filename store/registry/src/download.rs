//! Blobs on their way in: one stream, whatever happens to the connections below it.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use kiln_oci::{Algorithm, Descriptor, Digest};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256, Sha512};

use crate::endpoint::{Endpoint, authority};
use crate::error::{Cause, Error, Result};
use crate::retry::{Fault, Retry};
use crate::runtime::Driver;
use crate::transport::{Call, Transport};

/// A connection that brought this much was worth it: the attempts are counted anew.
pub(crate) const PROGRESS_BYTES: u64 = 1 << 20;

/// The content of a blob; a broken transfer is resumed where it broke.
///
/// The end of the stream is reached only if size and digest are right. Errors are
/// [`io::Error`]s with an [`Error`] inside.
pub struct BlobReader {
    driver: Driver,
    transport: Arc<Transport>,
    /// Where to read; the first is left for the next when it fails for good.
    endpoints: Vec<Endpoint>,
    repository: String,
    scopes: Vec<String>,
    descriptor: Descriptor,
    check: Check,
    state: State,
    /// How many bytes have come, the ones in the chunk included.
    position: u64,
    chunk: Bytes,
    attempts: u32,
    position_of_attempt: u64,
    pace: Pace,
}

enum State {
    /// Not connected, or not any more.
    Idle,
    /// Connected; of the next bytes this many have been here before.
    Open {
        response: Box<Response>,
        skip: u64,
    },
    Done,
}

/// The digest, as far as the bytes have come.
enum Check {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
    /// The caller computes it.
    Skipped,
}

/// How much came in how long; time in which nobody reads does not count.
#[derive(Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl BlobReader {
    pub(crate) fn new(
        driver: Driver,
        transport: Arc<Transport>,
        endpoints: Vec<Endpoint>,
        repository: &str,
        descriptor: &Descriptor,
    ) -> Self {
        let check = match descriptor.digest.algorithm() {
            Algorithm::Sha256 => Check::Sha256(Sha256::new()),
            Algorithm::Sha512 => Check::Sha512(Box::new(Sha512::new())),
        };
        Self {
            driver,
            transport,
            endpoints,
            repository: repository.to_owned(),
            scopes: vec![format!("repository:{repository}:pull")],
            descriptor: descriptor.clone(),
            check,
            state: State::Idle,
            position: 0,
            chunk: Bytes::new(),
            attempts: 0,
            position_of_attempt: 0,
            pace: Pace::default(),
        }
    }

    /// Leaves the digest to the caller, who computes it anyway; the size is still checked.
    pub fn without_digest_check(mut self) -> Self {
        self.check = Check::Skipped;
        self
    }

    /// Fetches the next bytes into the empty `chunk`; leaves it empty at the end.
    fn advance(&mut self) -> Result<()> {
        let driver = self.driver.clone();
        driver.run(async {
            while self.chunk.is_empty() && !matches!(self.state, State::Done) {
                if let Err(fault) = self.step().await? {
                    self.recover(fault).await?;
                }
            }
            Ok(())
        })
    }

    /// Connects or takes one chunk. The outer error is final, the inner may pass.
    async fn step(&mut self) -> Result<Result<(), Fault>> {
        let State::Open { response, skip } = &mut self.state else {
            return self.connect().await;
        };
        let began = Instant::now();
        let idle = self.transport.http.timeouts.idle;
        let chunk = match tokio::time::timeout(idle, response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Ok(Err(crate::http::fault(error))),
            Err(_) => return Ok(Err(stalled(idle))),
        };
        let Some(mut chunk) = chunk else {
            return self.end();
        };
        let known = (chunk.len() as u64).min(*skip);
        *skip -= known;
        // Chunks are no larger than the connection's buffers.
        chunk.advance(known as usize);
        if !self
            .pace
            .keeps_up(began.elapsed(), chunk.len(), idle, self.slowest())
        {
            return Ok(Err(stalled(idle)));
        }
        self.accept(chunk).map(Ok)
    }

    fn slowest(&self) -> u64 {
        self.transport.http.timeouts.slowest_bytes_per_idle
    }

    fn accept(&mut self, chunk: Bytes) -> Result<()> {
        self.position += chunk.len() as u64;
        if self.position > self.descriptor.size {
            return Err(self.too_long());
        }
        match &mut self.check {
            Check::Sha256(hasher) => hasher.update(&chunk),
            Check::Sha512(hasher) => hasher.update(&chunk),
            Check::Skipped => {}
        }
        self.chunk = chunk;
        Ok(())
    }

    /// The server says that this is all.
    fn end(&mut self) -> Result<Result<(), Fault>> {
        if self.position < self.descriptor.size {
            let text = "the body ended early".to_owned();
            return Ok(Err(Fault {
                cause: Cause::Connection(text),
                retry: Retry::After(None),
            }));
        }
        self.state = State::Done;
        let found = match std::mem::replace(&mut self.check, Check::Skipped) {
            Check::Sha256(hasher) => Digest::from_sha256(hasher.finalize().into()),
            Check::Sha512(hasher) => Digest::from_sha512(hasher.finalize().into()),
            Check::Skipped => return Ok(Ok(())),
        };
        match found == self.descriptor.digest {
            true => Ok(Ok(())),
            false => {
                let expected = self.descriptor.digest.clone();
                Err(Error::WrongDigest {
                    host: self.host(),
                    expected,
                    found,
                })
            }
        }
    }

    async fn connect(&mut self) -> Result<Result<(), Fault>> {
        self.position_of_attempt = self.position;
        self.pace = Pace::default();
        let answer = self.transport.attempt(&self.call()).await;
        let response = match answer {
            Ok(response) => response,
            Err(fault) => return Ok(Err(fault)),
        };
        let (skip, length) = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, self.position) => {
                (0, self.descriptor.size - self.position)
            }
            StatusCode::OK => (self.position, self.descriptor.size),
            status => {
                let text = format!("it answered {status} for another range than asked");
                return Ok(Err(Fault::never(Cause::Protocol(text))));
            }
        };
        if response
            .content_length()
            .is_some_and(|announced| announced > length)
        {
            return Err(self.too_long());
        }
        self.state = State::Open {
            response: Box::new(response),
            skip,
        };
        Ok(Ok(()))
    }

    fn call(&self) -> Call<'_> {
        let endpoint = &self.endpoints[0];
        let url = endpoint.url(
            &self.repository,
            &format!("blobs/{}", self.descriptor.digest),
        );
        let mut headers = HeaderMap::new();
        if self.position > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.position))
        {
            headers.insert(RANGE, range);
        }
        Call {
            headers,
            ..Call::new(endpoint, Method::GET, url, &self.scopes)
        }
    }

    /// Waits for another attempt, or turns to the next endpoint, or gives up.
    async fn recover(&mut self, fault: Fault) -> Result<()> {
        let was_open = matches!(self.state, State::Open { .. });
        self.state = State::Idle;
        if self.position - self.position_of_attempt >= PROGRESS_BYTES {
            self.attempts = 0;
        }
        self.attempts += 1;
        if let Some(pause) = fault.pause(self.attempts, &self.transport.policy) {
            self.transport.wait(&self.call(), pause, &fault).await;
            return Ok(());
        }
        if self.endpoints.len() > 1 {
            self.endpoints.remove(0);
            self.attempts = 0;
            return Ok(());
        }
        // A server that has no such range has no more than what came.
        let is_short = match &fault.cause {
            Cause::Connection(_) => was_open,
            Cause::Status { code, .. } => *code == 416 && self.position > 0,
            _ => false,
        };
        match (is_short, fault.cause) {
            (true, _) => Err(Error::ShortBlob {
                host: self.host(),
                digest: self.descriptor.digest.clone(),
                expected: self.descriptor.size,
                found: self.position,
            }),
            (false, cause) => Err(self.call().error(self.attempts, cause)),
        }
    }

    fn too_long(&self) -> Error {
        let (digest, expected) = (self.descriptor.digest.clone(), self.descriptor.size);
        Error::LongBlob {
            host: self.host(),
            digest,
            expected,
        }
    }

    fn host(&self) -> String {
        authority(&self.endpoints[0].base)
    }
}

impl Pace {
    /// Counts `bytes` that took `waited`; whether at least `slowest` come in an `idle` time.
    pub fn keeps_up(
        &mut self,
        waited: Duration,
        bytes: usize,
        idle: Duration,
        slowest: u64,
    ) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < idle {
            return true;
        }
        let kept_up = self.bytes >= slowest;
        *self = Self::default();
        kept_up
    }
}

pub(crate) fn stalled(idle: Duration) -> Fault {
    Fault {
        cause: Cause::Stalled(idle),
        retry: Retry::Doubtful,
    }
}

/// Whether `Content-Range` begins at `position`.
pub(crate) fn starts_at(response: &Response, position: u64) -> bool {
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = range.and_then(|text| text.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
    start == Some(position)
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.chunk.is_empty() {
            self.advance().map_err(io::Error::other)?;
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
