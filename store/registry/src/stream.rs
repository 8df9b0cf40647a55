//! Bytes on their way in: one stream, whatever happens to the connections below it.
//!
//! What differs between blobs and files of the web, how to ask for the rest and when to give
//! up, is a [`Supply`]; connections that break, stall or drip are dealt with here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, Url};

use crate::error::{Cause, Result};
use crate::faults::{fault, stalled};
use crate::retry::{Attempts, Fault};
use crate::runtime::Driver;
use crate::transport::Transport;

/// A connection that brought this much was worth it: the attempts are counted anew.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The outer error is final, the inner one may pass.
pub(crate) type Outcome<T> = Result<Result<T, Fault>>;

/// Where the bytes of a stream come from.
pub(crate) trait Supply {
    /// Asks for the bytes from `position` on.
    async fn connect(&mut self, transport: &Transport, position: u64) -> Outcome<Opened>;

    /// Takes note of a chunk that begins at `position`; may shorten it.
    fn accept(&mut self, position: u64, chunk: &mut Bytes) -> Result<Flow>;

    /// Judges a body that ended at `position`.
    fn end(&mut self, position: u64) -> Outcome<()>;

    /// Returns what is being asked, to say so.
    fn url(&self) -> Url;

    /// Returns the error that ends the stream, or `None` if there is somewhere else to ask.
    fn give_up(&mut self, broken: Broken) -> Option<crate::Error>;
}

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// More is wanted.
    Continue,
    /// This was all that is wanted.
    Done,
}

/// A connection.
pub(crate) struct Opened {
    pub response: Response,
    /// Of the next bytes this many have been here before.
    pub skip: u64,
}

/// A stream that came to nothing.
pub(crate) struct Broken {
    pub position: u64,
    pub attempts: u32,
    /// Whether an answer had begun.
    pub was_open: bool,
    pub cause: Cause,
}

/// The bytes of a supply.
pub(crate) struct Stream<S> {
    driver: Driver,
    transport: Arc<Transport>,
    pub supply: S,
    state: State,
    /// How many bytes have come, the ones in the chunk included.
    position: u64,
    chunk: Bytes,
    attempts: Attempts,
    position_of_attempt: u64,
    pace: Pace,
}

enum State {
    /// Not connected, or not any more.
    Idle,
    Open(Box<Opened>),
    Done,
}

impl<S: Supply> Stream<S> {
    /// Returns the stream of the bytes of `supply` from `position` on; nothing is asked yet.
    pub fn new(driver: &Driver, transport: &Arc<Transport>, supply: S, position: u64) -> Self {
        Self {
            driver: driver.clone(),
            transport: Arc::clone(transport),
            supply,
            state: State::Idle,
            position,
            chunk: Bytes::new(),
            attempts: Attempts::default(),
            position_of_attempt: position,
            pace: Pace::default(),
        }
    }

    /// Returns the stream with an answer that has begun to come.
    pub fn opened(mut self, response: Response) -> Self {
        self.state = State::Open(Box::new(Opened { response, skip: 0 }));
        self
    }

    /// Copies the next bytes to `buffer`; none at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

    /// Connects or takes one chunk.
    async fn step(&mut self) -> Outcome<()> {
        let State::Open(opened) = &mut self.state else {
            return self.connect().await;
        };
        let began = Instant::now();
        let idle = self.transport.http.timeouts.idle;
        let chunk = match tokio::time::timeout(idle, opened.response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Ok(Err(fault(error))),
            Err(_) => return Ok(Err(stalled(idle))),
        };
        let Some(mut chunk) = chunk else {
            let ended = self.supply.end(self.position)?;
            return Ok(ended.map(|()| self.state = State::Done));
        };
        let known = (chunk.len() as u64).min(opened.skip);
        opened.skip -= known;
        // Chunks are no larger than the connection's buffers.
        chunk.advance(known as usize);
        let slowest = self.transport.http.timeouts.slowest_bytes_per_idle;
        if !self
            .pace
            .keeps_up(began.elapsed(), chunk.len(), idle, slowest)
        {
            return Ok(Err(stalled(idle)));
        }
        if self.supply.accept(self.position, &mut chunk)? == Flow::Done {
            self.state = State::Done;
        }
        self.position += chunk.len() as u64;
        self.chunk = chunk;
        Ok(Ok(()))
    }

    async fn connect(&mut self) -> Outcome<()> {
        self.position_of_attempt = self.position;
        self.pace = Pace::default();
        let opened = self.supply.connect(&self.transport, self.position).await?;
        Ok(opened.map(|opened| self.state = State::Open(Box::new(opened))))
    }

    /// Waits for another attempt, or turns elsewhere, or gives up.
    async fn recover(&mut self, fault: Fault) -> Result<()> {
        let was_open = matches!(self.state, State::Open(_));
        self.state = State::Idle;
        if self.position - self.position_of_attempt >= PROGRESS_BYTES {
            self.attempts = Attempts::default();
        }
        if let Some(pause) = self.attempts.failed(&fault, &self.transport.policy) {
            self.transport
                .pause(&self.supply.url(), pause, &fault)
                .await;
            return Ok(());
        }
        let broken = Broken {
            position: self.position,
            attempts: self.attempts.count(),
            was_open,
            cause: fault.cause,
        };
        match self.supply.give_up(broken) {
            Some(error) => Err(error),
            None => {
                self.attempts = Attempts::default();
                Ok(())
            }
        }
    }
}

/// How much came in how long; time in which nobody reads does not count.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts `bytes` that took `waited`; whether at least `slowest` come in an `idle` time.
    fn keeps_up(&mut self, waited: Duration, bytes: usize, idle: Duration, slowest: u64) -> bool {
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

/// Whether `Content-Range` begins at `position`.
pub(crate) fn starts_at(response: &Response, position: u64) -> bool {
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = range.and_then(|text| text.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
    start == Some(position)
}
