//! Files of the web: asked for by address, resumed where they broke, fetched again only when
//! they have changed.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use reqwest::header::{
    DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use reqwest::{Method, Response, StatusCode, Url};

use crate::download::{PROGRESS_BYTES, Pace, stalled, starts_at};
use crate::endpoint::authority;
use crate::error::{Cause, Error, Result};
use crate::http::{Payload, Request};
use crate::retry::{Fault, Retry};
use crate::runtime::Driver;
use crate::transport::{Transport, refusal};

/// What is asked for.
#[derive(Clone, Copy, Default)]
pub struct WebRequest<'a> {
    /// The address; a user and password in it are sent as basic authentication.
    pub url: &'a str,
    /// The header `Authorization`; it goes to no other origin.
    pub authorization: Option<&'a str>,
    /// The `ETag` of the file that is known.
    pub etag: Option<&'a str>,
    /// The `Last-Modified` of the file that is known.
    pub last_modified: Option<&'a str>,
}

/// What came of it.
#[derive(Debug)]
pub enum WebAnswer {
    /// The file is the one that is known.
    Unchanged,
    /// A file.
    File(Box<WebFile>),
}

/// A file on its way: its content is read from this.
pub struct WebFile {
    driver: Driver,
    transport: Arc<Transport>,
    target: Target,
    headers: HeaderMap,
    size: Option<u64>,
    state: State,
    /// How many bytes have come, the ones in the chunk included.
    position: u64,
    chunk: Bytes,
    attempts: u32,
    position_of_attempt: u64,
    pace: Pace,
}

/// Where a file is, and who asks.
struct Target {
    url: Url,
    authorization: Option<String>,
}

enum State {
    /// Not connected any more.
    Idle,
    Open(Box<Response>),
    Done,
}

/// Returns the answer to `request`, after as many attempts as the policy allows.
pub(crate) fn fetch(
    driver: &Driver,
    transport: &Arc<Transport>,
    request: &WebRequest<'_>,
) -> Result<WebAnswer> {
    let target = Target::new(request)?;
    let conditions = conditions(request);
    let response = driver.run(async {
        for attempt in 1.. {
            let fault = match target.ask(transport, conditions.clone()).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            match fault.pause(attempt, &transport.policy) {
                Some(pause) => transport.pause(&target.url, pause, &fault).await,
                None => return Err(target.error(attempt, fault.cause)),
            }
        }
        Err(target.error(0, Cause::Protocol("it was never asked".to_owned())))
    })?;
    if is_unchanged(&response, request) {
        return Ok(WebAnswer::Unchanged);
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        let text = "it says that nothing changed, but was not asked that".to_owned();
        return Err(target.error(1, Cause::Protocol(text)));
    }
    Ok(WebAnswer::File(Box::new(WebFile {
        driver: driver.clone(),
        transport: Arc::clone(transport),
        headers: response.headers().clone(),
        size: response.content_length(),
        target,
        state: State::Open(Box::new(response)),
        position: 0,
        chunk: Bytes::new(),
        attempts: 0,
        position_of_attempt: 0,
        pace: Pace::default(),
    })))
}

fn conditions(request: &WebRequest<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, text: Option<&str>| {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    };
    set(IF_NONE_MATCH, request.etag);
    set(IF_MODIFIED_SINCE, request.last_modified);
    headers
}

/// Whether the file is the known one. Some servers send all of it although it is.
fn is_unchanged(response: &Response, request: &WebRequest<'_>) -> bool {
    let is_conditional = request.etag.is_some() || request.last_modified.is_some();
    let has_known_tag = || {
        let tag = text_of(response.headers(), &ETAG);
        request.etag.is_some() && tag.as_deref() == request.etag
    };
    is_conditional && (response.status() == StatusCode::NOT_MODIFIED || has_known_tag())
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

impl Target {
    fn new(request: &WebRequest<'_>) -> Result<Self> {
        let mut url = parse(request.url)?;
        let in_address = basic(&url);
        // An address without them is fit for messages.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let given = request.authorization.map(str::to_owned);
        Ok(Self {
            url,
            authorization: given.or(in_address),
        })
    }

    /// Sends one request.
    async fn ask(&self, transport: &Transport, headers: HeaderMap) -> Result<Response, Fault> {
        let request = Request {
            method: Method::GET,
            url: self.url.clone(),
            headers,
            payload: Payload::Empty,
        };
        let authorization = self.authorization.as_deref();
        let response = transport.http.send(&request, authorization).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => Ok(response),
            status if status.is_success() => {
                let text = format!("it answered {status}, which brings no file");
                Err(Fault::never(Cause::Protocol(text)))
            }
            _ => Err(refusal(response, transport.http.timeouts.document).await),
        }
    }

    fn error(&self, attempts: u32, cause: Cause) -> Error {
        Error::Request {
            action: "GET",
            host: authority(&self.url),
            path: self.url.path().to_owned(),
            attempts,
            cause,
        }
    }
}

fn parse(text: &str) -> Result<Url> {
    let refuse = |reason: &str| Error::FileAddress {
        text: without_user(text),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(refuse("it must begin with https:// or http://")),
    }
}

fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

/// Returns the `Authorization` header of the user and password in `url`, if it has them.
fn basic(url: &Url) -> Option<String> {
    let decoded = |text: &str| {
        let pairs = format!("x={}", text.replace('+', "%2B"));
        let mut url = url.clone();
        url.set_query(Some(&pairs));
        url.query_pairs()
            .next()
            .map(|(_, value)| value.into_owned())
    };
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return None;
    }
    let pair = format!("{}:{}", decoded(url.username())?, decoded(password)?);
    Some(format!("Basic {}", STANDARD.encode(pair)))
}

impl WebFile {
    /// Returns the `ETag`.
    pub fn etag(&self) -> Option<String> {
        text_of(&self.headers, &ETAG)
    }

    /// Returns `Last-Modified`.
    pub fn last_modified(&self) -> Option<String> {
        text_of(&self.headers, &LAST_MODIFIED)
    }

    /// Returns `Date`: the time of the answer.
    pub fn date(&self) -> Option<String> {
        text_of(&self.headers, &DATE)
    }

    /// Returns how many bytes the file has, if the server said.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Fetches the next bytes into the empty `chunk`; leaves it empty at the end.
    fn advance(&mut self) -> Result<()> {
        let driver = self.driver.clone();
        driver.run(async {
            while self.chunk.is_empty() && !matches!(self.state, State::Done) {
                if let Err(fault) = self.step().await {
                    self.recover(fault).await?;
                }
            }
            Ok(())
        })
    }

    /// Connects again or takes one chunk.
    async fn step(&mut self) -> Result<(), Fault> {
        let State::Open(response) = &mut self.state else {
            return self.resume().await;
        };
        let began = Instant::now();
        let timeouts = &self.transport.http.timeouts;
        let chunk = match tokio::time::timeout(timeouts.idle, response.chunk()).await {
            Ok(chunk) => chunk.map_err(crate::http::fault)?,
            Err(_) => return Err(stalled(timeouts.idle)),
        };
        let Some(chunk) = chunk else {
            self.state = State::Done;
            return Ok(());
        };
        self.position += chunk.len() as u64;
        let (waited, slowest) = (began.elapsed(), timeouts.slowest_bytes_per_idle);
        let keeps_up = self
            .pace
            .keeps_up(waited, chunk.len(), timeouts.idle, slowest);
        self.chunk = chunk;
        match keeps_up {
            true => Ok(()),
            false => Err(stalled(timeouts.idle)),
        }
    }

    /// Asks for the rest, of the same file only.
    async fn resume(&mut self) -> Result<(), Fault> {
        self.position_of_attempt = self.position;
        self.pace = Pace::default();
        let mut headers = HeaderMap::new();
        if self.position > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.position));
            let (Some(same), Ok(range)) = (self.validator(), range) else {
                return Err(changed());
            };
            headers.insert(IF_RANGE, same);
            headers.insert(RANGE, range);
        }
        let response = self.target.ask(&self.transport, headers).await?;
        let continues = match response.status() {
            StatusCode::PARTIAL_CONTENT => starts_at(&response, self.position),
            StatusCode::OK => self.position == 0,
            _ => false,
        };
        if !continues {
            return Err(changed());
        }
        self.state = State::Open(Box::new(response));
        Ok(())
    }

    /// Returns what makes sure that the rest is that of the same file.
    fn validator(&self) -> Option<HeaderValue> {
        let tag = self.headers.get(ETAG);
        let strong = tag.filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        strong.or_else(|| self.headers.get(LAST_MODIFIED)).cloned()
    }

    /// Waits for another attempt, or gives up.
    async fn recover(&mut self, fault: Fault) -> Result<()> {
        self.state = State::Idle;
        if self.position - self.position_of_attempt >= PROGRESS_BYTES {
            self.attempts = 0;
        }
        self.attempts += 1;
        if let Some(pause) = fault.pause(self.attempts, &self.transport.policy) {
            self.transport.pause(&self.target.url, pause, &fault).await;
            return Ok(());
        }
        Err(Error::Interrupted {
            host: authority(&self.target.url),
            path: self.target.url.path().to_owned(),
            received: self.position,
            cause: fault.cause,
        })
    }
}

fn changed() -> Fault {
    let text = "the rest of the file cannot be had: it may have changed".to_owned();
    Fault {
        cause: Cause::Connection(text),
        retry: Retry::Never,
    }
}

impl Read for WebFile {
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

impl std::fmt::Debug for WebFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WebFile")
            .field("url", &self.target.url.as_str())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
