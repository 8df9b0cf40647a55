//! One exchange of HTTP: connections, redirects, and what breaks them.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{
    Body, Certificate, Client, ClientBuilder, Identity, Method, Response, StatusCode, Url,
};

use crate::Timeouts;
use crate::chunks;
use crate::endpoint::{authority, is_loopback, same_origin};
use crate::error::Cause;
use crate::faults::{in_words, send_fault, source_fault, stalled, unusable};
use crate::retry::{Fault, Retry};
use crate::settings::{Found, LazySettings, Security};

const MAX_REDIRECTS: u32 = 10;

/// Makes requests; connections are kept and shared.
pub(crate) struct Http {
    pub timeouts: Timeouts,
    settings: Arc<LazySettings>,
    // One per way to connect, made when first needed: reading the system's certificates
    // takes a while, and a system without any can still use plain HTTP.
    clients: Mutex<HashMap<Way, Client>>,
    /// Hosts that may do without TLS, and whether they do.
    plain: tokio::sync::Mutex<HashMap<String, bool>>,
    /// Hosts that answered over TLS.
    hosts: Mutex<HashSet<String>>,
}

/// Ways to connect, each with its own connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Way {
    /// Without TLS on this machine; no proxy is asked.
    Loopback,
    /// Without TLS.
    Plain,
    /// With the certificates that count everywhere.
    Tls,
    /// With certificates of its own, or without checking any.
    Host(String),
}

/// A request that can be sent more than once.
pub(crate) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub payload: Payload<'a>,
}

/// What is sent along.
#[derive(Clone)]
pub(crate) enum Payload<'a> {
    Empty,
    Bytes(&'a Bytes),
    /// A part of something; opened anew each time.
    Stream {
        range: Range<u64>,
        open: Open<'a>,
        failure: &'a Mutex<Option<io::Error>>,
    },
}

/// Opens what is to be sent, from a position on.
pub(crate) type Open<'a> = &'a (dyn Fn(u64) -> io::Result<Box<dyn Read + Send>> + Sync);

impl Http {
    pub fn new(settings: Arc<LazySettings>, timeouts: Timeouts) -> Self {
        // Fails only if somebody else installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            timeouts,
            settings,
            clients: Mutex::default(),
            plain: tokio::sync::Mutex::default(),
            hosts: Mutex::default(),
        }
    }

    /// Finds out whether the host at `base` has TLS, if it may do without and begins as such.
    pub async fn settle(&self, base: &mut Url) -> Result<(), Fault> {
        if base.scheme() != "http" || self.security_of(base)? != Security::Lax {
            return Ok(());
        }
        let name = authority(base);
        // Held while the host is asked, so that it is asked once.
        let mut plain = self.plain.lock().await;
        let mut tls = base.clone();
        // Fails for no address that has a host.
        let _ = tls.set_scheme("https");
        let is_plain = match plain.get(&name) {
            Some(is_plain) => *is_plain,
            None => {
                let mut url = tls.clone();
                url.set_path("/v2/");
                let asked = self.client(&url)?.get(url).send();
                let answer = tokio::time::timeout(self.timeouts.connect, asked).await;
                *plain.entry(name).or_insert(!matches!(answer, Ok(Ok(_))))
            }
        };
        if !is_plain {
            *base = tls;
        }
        Ok(())
    }

    fn security_of(&self, url: &Url) -> Result<Security, Fault> {
        let settings = self.settings.get().map_err(unusable)?;
        let security = settings.security_of(url);
        security.map_err(|reason| Fault::never(Cause::Certificates(reason)))
    }

    fn client(&self, url: &Url) -> Result<Client, Fault> {
        let (way, found) = self.way(url)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&way) {
            return Ok(client.clone());
        }
        let builder = match &way {
            Way::Loopback => self.builder().tls_certs_only([]).no_proxy(),
            Way::Plain => self.builder().tls_certs_only([]),
            Way::Tls => self.with_authorities(self.builder(), &[])?,
            Way::Host(_) => self.host_builder(url, &found)?,
        };
        let client = builder.build().map_err(|error| {
            Fault::never(Cause::Connection(format!(
                "cannot set up TLS: {}",
                in_words(&error)
            )))
        })?;
        clients.insert(way, client.clone());
        Ok(client)
    }

    /// Returns how to connect to the host of `url`, and the certificates for it alone.
    fn way(&self, url: &Url) -> Result<(Way, Found), Fault> {
        if url.scheme() != "https" {
            let way = match is_loopback(url) {
                true => Way::Loopback,
                false => Way::Plain,
            };
            return Ok((way, Found::default()));
        }
        let settings = self.settings.get().map_err(unusable)?;
        let name = authority(url);
        let found = settings.certificates_of(&name);
        let found = found.map_err(|reason| Fault::never(Cause::Certificates(reason)))?;
        let is_usual = found.is_empty() && self.security_of(url)? != Security::Lax;
        match is_usual {
            true => Ok((Way::Tls, found)),
            false => Ok((Way::Host(name), found)),
        }
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

    /// Notes that the host of `url` lets us in.
    fn answered(&self, url: &Url) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if url.scheme() == "https" && !hosts.contains(url.authority()) {
            hosts.insert(url.authority().to_owned());
        }
    }

    /// Adds to a broken connection what may be the reason. A server that wants a certificate of
    /// ours says so only when we believe to be connected, and what it says may come too late to
    /// be read.
    fn with_guess(&self, url: &Url, fault: Fault) -> Fault {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let lacks_certificate = url.scheme() == "https"
            && !hosts.contains(url.authority())
            && self
                .way(url)
                .is_ok_and(|(_, found)| found.clients.is_empty());
        match fault.cause {
            Cause::Connection(text) if lacks_certificate && fault.retry == Retry::After(None) => {
                let guess = "it may want a client certificate, and none is configured for it";
                let cause = Cause::Connection(format!("{text} ({guess})"));
                Fault { cause, ..fault }
            }
            cause => Fault { cause, ..fault },
        }
    }

    fn host_builder(&self, url: &Url, found: &Found) -> Result<ClientBuilder, Fault> {
        let mut builder = self.with_authorities(self.builder(), &found.authorities)?;
        if let Some((certificate, key)) = found.clients.first() {
            let mut pem = read_pem(key)?;
            pem.push(b'\n');
            pem.extend(read_pem(certificate)?);
            let identity = Identity::from_pem(&pem);
            builder = builder.identity(identity.map_err(|error| refuse(certificate, &error))?);
        }
        if self.security_of(url)? == Security::Lax {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        Ok(builder)
    }

    fn with_authorities(
        &self,
        builder: ClientBuilder,
        files: &[PathBuf],
    ) -> Result<ClientBuilder, Fault> {
        let everywhere = &self.settings.given().certificate_files;
        let mut certificates = Vec::new();
        for path in everywhere.iter().chain(files) {
            let bundle = Certificate::from_pem_bundle(&read_pem(path)?);
            certificates.extend(bundle.map_err(|error| refuse(path, &error))?);
        }
        let add = ClientBuilder::add_root_certificate;
        Ok(certificates.into_iter().fold(builder, add))
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
        builder = match &request.payload {
            Payload::Empty if request.method == Method::POST => builder.header(CONTENT_LENGTH, 0),
            Payload::Empty => builder,
            Payload::Bytes(bytes) => builder.body(Bytes::clone(bytes)),
            Payload::Stream {
                range,
                open,
                failure,
            } => {
                // What is sent may come from another registry, whose answer is waited for.
                let source = tokio::task::block_in_place(|| open(range.start));
                let source = source.map_err(|error| source_fault(failure, error))?;
                let size = range.end - range.start;
                let stream = chunks::stream(Box::new(source.take(size)), Arc::clone(&progress));
                builder
                    .header(CONTENT_LENGTH, size)
                    .body(Body::wrap_stream(stream))
            }
        };
        let mut sent = std::pin::pin!(builder.send());
        let mut before = 0;
        loop {
            match tokio::time::timeout(self.timeouts.idle, sent.as_mut()).await {
                Ok(Ok(response)) => {
                    self.answered(url);
                    return Ok(response);
                }
                Ok(Err(error)) => {
                    let fault = send_fault(error, &request.payload);
                    return Err(self.with_guess(url, fault));
                }
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

fn read_pem(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| {
        let text = format!("cannot use {}: {error}", path.display());
        Fault::never(Cause::Certificates(text))
    })
}

fn refuse(path: &Path, error: &reqwest::Error) -> Fault {
    let text = format!("cannot use {}: {}", path.display(), in_words(error));
    Fault::never(Cause::Certificates(text))
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
        // There machines tell themselves who they are, and no registry sends anybody.
        _ if is_link_local(&next) && !is_link_local(from) => {
            let text = format!("to {}, which is link-local", authority(&next));
            Err(Fault::never(Cause::Redirect(text)))
        }
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

fn is_link_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => match address.to_canonical() {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        },
        Err(_) => false,
    }
}
