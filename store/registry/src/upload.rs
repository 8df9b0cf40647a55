//! Blobs on their way out: there already, mounted from a neighbour, or sent.
//!
//! Large ones go in several requests; an upload that breaks goes on where the registry says. One
//! that is still being made is sent as far as it is, before anybody knows its digest.
//! Specification: OCI distribution-spec, "Pushing blobs".

use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_oci::{Descriptor, Reference};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode, Url};

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

/// Where blobs are pushed to.
pub(crate) struct Upload<'a> {
    pub transport: &'a Transport,
    pub endpoint: &'a Endpoint,
    pub open: Open<'a>,
}

/// What is larger goes in several requests, so that a broken one costs no more than this.
pub(crate) const LARGEST_REQUEST_BYTES: u64 = 64 << 20;
/// How long a registry has to take note that an upload has failed.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// How far an upload has come, and where it goes on.
pub(crate) struct Session {
    location: Url,
    position: u64,
    /// How much goes into the next request.
    pub chunk_bytes: u64,
    /// What the registry wants in one request at least.
    pub least_bytes: u64,
}

/// What is there of a blob.
#[derive(Clone, Copy)]
pub(crate) enum Extent<'a> {
    /// So many bytes and more.
    Beyond(u64),
    Whole(&'a Descriptor),
}

impl Extent<'_> {
    /// Returns the error of a blob that cannot be read.
    pub fn unreadable(self, source: io::Error) -> Error {
        let blob = match self {
            Extent::Beyond(_) => "a layer that is being compressed".to_owned(),
            Extent::Whole(descriptor) => format!("blob {}", descriptor.digest),
        };
        Error::Source { blob, source }
    }
}

impl Session {
    /// Returns up to where the next request can bring the blob.
    pub fn next_end(&self) -> u64 {
        self.position.saturating_add(self.chunk_bytes)
    }

    /// Returns what goes into the next request.
    fn next_part(&self, extent: Extent<'_>) -> Range<u64> {
        let there = match extent {
            Extent::Beyond(bytes) => bytes,
            Extent::Whole(descriptor) => descriptor.size,
        };
        self.position..there.min(self.next_end())
    }
}

impl Upload<'_> {
    /// Brings the blob there in the cheapest way.
    pub async fn push(
        &self,
        descriptor: &Descriptor,
        mount_from: Option<&Reference>,
    ) -> Result<Pushed> {
        let scopes = [self.endpoint.scope("pull,push")];
        if self.exists(descriptor, &scopes).await? {
            return Ok(Pushed::Existed);
        }
        let source = mount_from
            .map(Reference::repository)
            .filter(|name| *name != self.endpoint.repository);
        if let Some(source) = source
            && self.mount(descriptor, source, &scopes).await
        {
            return Ok(Pushed::Mounted);
        }
        let mut session = self.begin(&scopes).await?;
        let sent = self.send(&mut session, descriptor, &scopes).await;
        if sent.is_err() {
            self.give_up(&session, &scopes).await;
        }
        sent.map(|()| Pushed::Uploaded)
    }

    /// Sends what is still to be sent of a whole blob.
    pub async fn send(
        &self,
        session: &mut Session,
        descriptor: &Descriptor,
        scopes: &[String],
    ) -> Result<()> {
        let whole = Extent::Whole(descriptor);
        while !self.advance(session, whole, scopes).await? {}
        Ok(())
    }

    /// Whether the registry has the blob.
    pub async fn exists(&self, descriptor: &Descriptor, scopes: &[String]) -> Result<bool> {
        let url = self.endpoint.url(&format!("blobs/{}", descriptor.digest));
        let mut call = Call::new(self.endpoint, Method::HEAD, url, scopes);
        call.accepted = Some(StatusCode::NOT_FOUND);
        let response = self.transport.send(&call).await?;
        Ok(response.status().is_success())
    }

    /// Asks the registry to take the blob from `source`; a refusal only means to upload.
    async fn mount(&self, descriptor: &Descriptor, source: &str, scopes: &[String]) -> bool {
        let mut scopes = scopes.to_vec();
        scopes.push(format!("repository:{source}:pull"));
        let mut url = self.endpoint.url("blobs/uploads/");
        url.query_pairs_mut()
            .append_pair("mount", &descriptor.digest.to_string())
            .append_pair("from", source);
        let call = Call::new(self.endpoint, Method::POST, url, &scopes);
        let response = self.transport.attempt(&call).await;
        // 202 begins an upload instead, which the registry forgets after a while.
        response.is_ok_and(|response| response.status() == StatusCode::CREATED)
    }

    /// Tells the registry that an upload is not wanted any more; it would find out by itself, but
    /// in days.
    pub async fn give_up(&self, session: &Session, scopes: &[String]) {
        let told = async {
            // What was cut off has moved it on, and some registries want to be told where it is.
            let url = session.location.clone();
            let call = Call::new(self.endpoint, Method::GET, url.clone(), scopes);
            let answer = self.transport.attempt(&call).await.ok();
            let moved = answer.and_then(|it| location(it.url(), it.headers()).ok());
            let url = moved.unwrap_or(url);
            let call = Call::new(self.endpoint, Method::DELETE, url, scopes);
            let _ = self.transport.attempt(&call).await;
        };
        let _ = tokio::time::timeout(LONGEST_FAREWELL, told).await;
    }

    /// Sends the next part, again if need be; whether it was the last.
    pub async fn advance(
        &self,
        session: &mut Session,
        extent: Extent<'_>,
        scopes: &[String],
    ) -> Result<bool> {
        let mut attempts = Attempts::default();
        loop {
            let part = session.next_part(extent);
            let mut call = self.part(session, &part, scopes);
            let is_last = finish(&mut call, &part, extent);
            let fault = match self.request(session, &call, part.clone(), extent).await? {
                Ok(()) => return Ok(is_last),
                Err(fault) => fault,
            };
            let is_all = is_last && session.chunk_bytes >= part.end;
            if !is_all && is_refusal_of_parts(&fault) {
                // Some registries take a blob in one request only.
                *session = self.begin(scopes).await?;
                session.chunk_bytes = u64::MAX;
                return Ok(false);
            }
            let waited = self.transport.pause_or_fail(&call, &mut attempts, fault);
            waited.await?;
            *session = self.go_on(session, part.end, scopes).await?;
        }
    }

    /// Begins an upload.
    pub async fn begin(&self, scopes: &[String]) -> Result<Session> {
        let url = self.endpoint.url("blobs/uploads/");
        let call = Call::new(self.endpoint, Method::POST, url, scopes);
        let response = self.transport.send(&call).await?;
        let location = location(response.url(), response.headers());
        let location = location.map_err(|fault| call.error(1, fault.cause))?;
        let least_bytes = number(response.headers(), "oci-chunk-min-length").unwrap_or(0);
        Ok(Session {
            location,
            position: 0,
            chunk_bytes: LARGEST_REQUEST_BYTES.max(least_bytes),
            least_bytes,
        })
    }

    /// Sends `part` by `call`.
    async fn request(
        &self,
        session: &mut Session,
        call: &Call<'_>,
        part: Range<u64>,
        extent: Extent<'_>,
    ) -> Outcome<()> {
        let failure = Mutex::new(None);
        let mut call = call.clone();
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
            return Err(extent.unreadable(source));
        }
        let response = match answer {
            Ok(response) => response,
            Err(fault) => return Ok(Err(fault)),
        };
        session.position = part.end;
        if call.method == Method::PATCH {
            match location(response.url(), response.headers()) {
                Ok(next) => session.location = next,
                Err(fault) => return Err(call.error(1, fault.cause)),
            }
        }
        Ok(Ok(()))
    }

    /// Returns a call that sends one of several parts.
    fn part<'a>(&'a self, session: &Session, part: &Range<u64>, scopes: &'a [String]) -> Call<'a> {
        let url = session.location.clone();
        let mut call = Call::new(self.endpoint, Method::PATCH, url, scopes);
        let kind = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(CONTENT_TYPE, kind);
        if let Ok(range) = format!("{}-{}", part.start, part.end.saturating_sub(1)).parse() {
            call.headers.insert(CONTENT_RANGE, range);
        }
        call
    }

    /// Returns where a broken upload goes on, of which all up to `sent` may have come: where the
    /// registry says, else at the beginning.
    async fn go_on(&self, broken: &Session, sent: u64, scopes: &[String]) -> Result<Session> {
        let url = broken.location.clone();
        let call = Call::new(self.endpoint, Method::GET, url, scopes);
        let Ok(response) = self.transport.attempt(&call).await else {
            return self.begin_anew(broken, scopes).await;
        };
        let position = received(response.headers());
        let location = location(response.url(), response.headers());
        match (position, location) {
            (Some(position), location) if position < sent => Ok(Session {
                location: location.unwrap_or_else(|_| broken.location.clone()),
                position,
                ..*broken
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

/// Makes `call`, which sends `part`, one that ends the upload if it brings the rest; whether it
/// does.
fn finish(call: &mut Call<'_>, part: &Range<u64>, extent: Extent<'_>) -> bool {
    let Extent::Whole(descriptor) = extent else {
        return false;
    };
    if part.end < descriptor.size {
        return false;
    }
    call.method = Method::PUT;
    let digest = descriptor.digest.to_string();
    call.url.query_pairs_mut().append_pair("digest", &digest);
    if part.start == 0 {
        call.headers.remove(CONTENT_RANGE);
    }
    true
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
