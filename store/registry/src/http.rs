//! One exchange of HTTP: connections, redirects, and what breaks them.

use std::error::Error as _;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Certificate, Client, ClientBuilder, Method, Response, StatusCode, Url};

use crate::endpoint::{authority, is_loopback, same_origin};
use crate::error::Cause;
use crate::retry::{Fault, Retry};
use crate::{RegistrySettings, Timeouts, upload};

const MAX_REDIRECTS: u32 = 10;

/// Makes requests; connections are kept and shared.
#[derive(Debug)]
pub(crate) struct Http {
    pub timeouts: Timeouts,
    settings: RegistrySettings,
    // One per way to connect, made when first needed: reading the system's certificates
    // takes a while, and a system without any can still use plain HTTP.
    loopback: OnceLock<Client>,
    plain: OnceLock<Client>,
    tls: OnceLock<Client>,
}

/// A request that can be sent more than once.
pub(crate) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub payload: Payload<'a>,
}

/// What is sent along.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Empty,
    Bytes(&'a Bytes),
    /// Opened anew each time.
    Stream {
        size: u64,
        open: Open<'a>,
        failure: &'a Mutex<Option<io::Error>>,
    },
}

/// Opens what is to be sent, from its beginning.
pub(crate) type Open<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync);

impl Http {
    pub fn new(settings: RegistrySettings, timeouts: Timeouts) -> Self {
        // Fails only if somebody else installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (loopback, plain, tls) = Default::default();
        Self {
            timeouts,
            settings,
            loopback,
            plain,
            tls,
        }
    }

    fn client(&self, url: &Url) -> Result<&Client, Fault> {
        let (cell, is_tls) = match url.scheme() {
            "https" => (&self.tls, true),
            _ if is_loopback(url) => (&self.loopback, false),
            _ => (&self.plain, false),
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = self.builder();
        builder = match is_tls {
            true => self
                .certificates()?
                .into_iter()
                .fold(builder, ClientBuilder::add_root_certificate),
            false => builder.tls_certs_only([]),
        };
        if is_loopback(url) && !is_tls {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            Fault::never(Cause::Connection(format!(
                "cannot set up TLS: {}",
                in_words(&error)
            )))
        })?;
        Ok(cell.get_or_init(|| client))
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.timeouts.connect)
            .http2_adaptive_window(true)
            .referer(false)
    }

    fn certificates(&self) -> Result<Vec<Certificate>, Fault> {
        let mut certificates = Vec::new();
        for path in &self.settings.certificate_files {
            let refuse = |reason: String| {
                let text = format!("cannot use certificates {}: {reason}", path.display());
                Fault::never(Cause::Connection(text))
            };
            let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
            let bundle = Certificate::from_pem_bundle(&pem);
            certificates.extend(bundle.map_err(|error| refuse(in_words(&error)))?);
        }
        Ok(certificates)
    }

    /// Sends `request` and follows redirects; `authorization` goes to the first origin only.
    pub async fn send(
        &self,
        request: &Request<'_>,
        authorization: Option<&str>,
    ) -> Result<Response, Fault> {
        let mut url = request.url.clone();
        let mut authorization = authorization.map(secret).transpose()?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(request, &url, authorization.as_ref()).await?;
            let Some(next) = redirect(request, &url, &response)? else {
                return Ok(response);
            };
            if !same_origin(&url, &next) {
                // For good: a later hop back must not get it either.
                authorization = None;
            }
            url = next;
        }
        let text = format!("more than {MAX_REDIRECTS} in a row");
        Err(Fault::never(Cause::Redirect(text)))
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let mut builder = self
            .client(url)?
            .request(request.method.clone(), url.clone());
        builder = builder.headers(request.headers.clone());
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        let progress = Arc::new(AtomicU64::new(0));
        builder = match request.payload {
            Payload::Empty if request.method == Method::POST => builder.header(CONTENT_LENGTH, 0),
            Payload::Empty => builder,
            Payload::Bytes(bytes) => builder.body(bytes.clone()),
            Payload::Stream {
                size,
                open,
                failure,
            } => {
                let source = open().map_err(|error| source_fault(failure, error))?;
                let stream = upload::stream(source, Arc::clone(&progress));
                builder
                    .header(CONTENT_LENGTH, size)
                    .body(Body::wrap_stream(stream))
            }
        };
        let mut sent = std::pin::pin!(builder.send());
        let mut before = 0;
        loop {
            match tokio::time::timeout(self.timeouts.idle, sent.as_mut()).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(send_fault(error, &request.payload)),
                Err(_) => {}
            }
            let now = progress.load(Ordering::Relaxed);
            if now == before {
                return Err(stalled(self.timeouts.idle));
            }
            before = now;
        }
    }
}

fn secret(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let reason = "the credentials hold characters that no header can carry".to_owned();
        Fault::never(Cause::Unauthorized { reason })
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns where `response` sends us, if it does.
fn redirect(request: &Request<'_>, from: &Url, response: &Response) -> Result<Option<Url>, Fault> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let follows = match response.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => reads,
        _ => false,
    };
    match follows {
        true => location(from, response.headers()).map(Some),
        false => Ok(None),
    }
}

/// Returns the `Location` of an answer from `from`.
pub(crate) fn location(from: &Url, headers: &HeaderMap) -> Result<Url, Fault> {
    let text = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(next) = text.and_then(|text| from.join(text).ok()) else {
        return Err(Fault::never(Cause::Protocol(
            "its Location is no address".to_owned(),
        )));
    };
    match (from.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(next),
        _ => {
            let text = format!(
                "from {} to {}://{}",
                from.scheme(),
                next.scheme(),
                authority(&next)
            );
            Err(Fault::never(Cause::Redirect(text)))
        }
    }
}

fn stalled(idle: Duration) -> Fault {
    Fault {
        cause: Cause::Stalled(idle),
        retry: Retry::Doubtful,
    }
}

fn source_fault(failure: &Mutex<Option<io::Error>>, error: io::Error) -> Fault {
    let text = error.to_string();
    *failure.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(error);
    Fault::never(Cause::Connection(text))
}

/// Tells a broken connection from a body that could not be read.
fn send_fault(error: reqwest::Error, payload: &Payload<'_>) -> Fault {
    if let Payload::Stream { failure, .. } = payload
        && let Some(source) = upload::source_error(&error)
    {
        return source_fault(failure, source);
    }
    fault(error)
}

/// Returns what a broken exchange means.
pub(crate) fn fault(error: reqwest::Error) -> Fault {
    let text = in_words(&error);
    let retry = match error.is_connect() || error.is_builder() {
        true if text.contains("ertificate") || error.is_builder() => Retry::Never,
        true => Retry::Doubtful,
        false => Retry::After(None),
    };
    let text = match error.is_connect() {
        true => format!("cannot connect: {text}"),
        false => format!("the connection broke: {text}"),
    };
    Fault {
        cause: Cause::Connection(text),
        retry,
    }
}

/// Returns the innermost reason of `error`: the layers above only say that they failed.
fn in_words(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let text = reason.to_string();
    match error.source() {
        // The resolver prints its query; the host stands beside this text anyway.
        Some(_) if text.starts_with("no records found") => {
            "no address is known for the host".into()
        }
        Some(_) => text,
        None => "the request failed".to_owned(),
    }
}
