//! Files of the web: asked for by address, resumed where they broke, fetched again only when
//! they have changed.

use std::io::{self, Read};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{
    DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use reqwest::{Method, Response, StatusCode, Url};

use crate::endpoint::authority;
use crate::error::{Cause, Error, Result};
use crate::http::{Payload, Request};
use crate::retry::{Attempts, Fault};
use crate::runtime::Driver;
use crate::stream::{Broken, Flow, Opened, Outcome, Stream, Supply, starts_at};
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
    size: Option<u64>,
    stream: Stream<Rest>,
}

/// The rest of a file whose beginning came already.
struct Rest {
    target: Target,
    /// The headers of the first answer.
    headers: HeaderMap,
}

/// Where a file is, and who asks.
struct Target {
    url: Url,
    authorization: Option<String>,
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
        let mut attempts = Attempts::default();
        loop {
            let fault = match target.ask(transport, conditions.clone()).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            match attempts.failed(&fault, &transport.policy) {
                Some(pause) => transport.pause(&target.url, pause, &fault).await,
                None => return Err(target.error(attempts.count(), fault.cause)),
            }
        }
    })?;
    if is_unchanged(&response, request) {
        return Ok(WebAnswer::Unchanged);
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        let text = "it says that nothing changed, but was not asked that".to_owned();
        return Err(target.error(1, Cause::Protocol(text)));
    }
    let (headers, size) = (response.headers().clone(), response.content_length());
    let rest = Rest { target, headers };
    let stream = Stream::new(driver, transport, rest, 0).opened(response);
    Ok(WebAnswer::File(Box::new(WebFile { size, stream })))
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
        text_of(&self.stream.supply.headers, &ETAG)
    }

    /// Returns `Last-Modified`.
    pub fn last_modified(&self) -> Option<String> {
        text_of(&self.stream.supply.headers, &LAST_MODIFIED)
    }

    /// Returns `Date`: the time of the answer.
    pub fn date(&self) -> Option<String> {
        text_of(&self.stream.supply.headers, &DATE)
    }

    /// Returns how many bytes the file has, if the server said.
    pub fn size(&self) -> Option<u64> {
        self.size
    }
}

impl Read for WebFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Supply for Rest {
    /// Asks for the rest, of the same file only.
    async fn connect(&mut self, transport: &Transport, position: u64) -> Outcome<Opened> {
        let mut headers = HeaderMap::new();
        if position > 0 {
            let range = HeaderValue::from_str(&format!("bytes={position}-"));
            let (Some(same), Ok(range)) = (self.validator(), range) else {
                return Ok(Err(changed()));
            };
            headers.insert(IF_RANGE, same);
            headers.insert(RANGE, range);
        }
        let response = match self.target.ask(transport, headers).await {
            Ok(response) => response,
            Err(fault) => return Ok(Err(fault)),
        };
        let continues = match response.status() {
            StatusCode::PARTIAL_CONTENT => starts_at(&response, position),
            StatusCode::OK => position == 0,
            _ => false,
        };
        Ok(match continues {
            true => Ok(Opened { response, skip: 0 }),
            false => Err(changed()),
        })
    }

    fn accept(&mut self, _: u64, _: &mut Bytes) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    fn end(&mut self, _: u64) -> Outcome<()> {
        Ok(Ok(()))
    }

    fn url(&self) -> Url {
        self.target.url.clone()
    }

    fn give_up(&mut self, broken: Broken) -> Option<Error> {
        Some(Error::Interrupted {
            host: authority(&self.target.url),
            path: self.target.url.path().to_owned(),
            received: broken.position,
            cause: broken.cause,
        })
    }
}

impl Rest {
    /// Returns what makes sure that the rest is that of the same file.
    fn validator(&self) -> Option<HeaderValue> {
        let tag = self.headers.get(ETAG);
        let strong = tag.filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        strong.or_else(|| self.headers.get(LAST_MODIFIED)).cloned()
    }
}

fn changed() -> Fault {
    let text = "the rest of the file cannot be had: it may have changed".to_owned();
    Fault::never(Cause::Connection(text))
}

impl std::fmt::Debug for WebFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WebFile")
            .field("url", &self.stream.supply.target.url.as_str())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
