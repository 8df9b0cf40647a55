//! The façade: what callers ask of a registry, answered on their own thread.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Document, MAX_DOCUMENT_BYTES, Manifest, MediaType, Reference};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, Url};

use crate::body::read_whole;
use crate::endpoint::{Endpoint, authority};
use crate::error::{Cause, Error, Result};
use crate::http::Payload;
use crate::listing;
use crate::retry::Attempts;
use crate::runtime::Driver;
use crate::settings::LazySettings;
use crate::transport::{Call, Transport};
use crate::upload::Upload;
use crate::web;
use crate::{BlobReader, Canceller, ClientOptions, GrowingBlob, Pushed, WebAnswer, WebRequest};

const ACCEPTED: [&str; 4] = [
    MediaType::OCI_INDEX,
    MediaType::OCI_MANIFEST,
    MediaType::DOCKER_INDEX,
    MediaType::DOCKER_MANIFEST,
];

/// A client of all registries. Cheap to clone; clones share connections and tokens.
///
/// Every method blocks, and may be called from any thread that runs no async tasks.
#[derive(Clone)]
pub struct Client {
    driver: Driver,
    transport: Arc<Transport>,
    settings: Arc<LazySettings>,
}

/// A manifest or index as it came from a registry: checked, and byte for byte.
#[derive(Debug, Clone)]
pub struct FetchedDocument {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, to be stored unchanged.
    pub bytes: Vec<u8>,
    /// Its meaning.
    pub document: Document,
}

impl Client {
    /// Returns a client. Connects to nothing and reads no files yet.
    ///
    /// Errors: [`Error::Setup`] if no threads can be had.
    pub fn new(options: ClientOptions) -> Result<Self> {
        let driver = Driver::new()?;
        let given = options.registries.clone();
        let settings = Arc::new(LazySettings::new(given, options.places.clone()));
        let transport = Transport::new(&options, Arc::clone(&settings));
        Ok(Self {
            driver,
            transport,
            settings,
        })
    }

    /// Asks `registry` whether it lets us in: as the login of the options says, else as the files
    /// do. Errors: it does not, or is no registry.
    pub fn check_login(&self, registry: &str) -> Result<()> {
        let mut endpoint = Endpoint::of(registry, "", self.settings.get()?)?;
        self.settle(&mut endpoint)?;
        let mut url = endpoint.base.clone();
        url.set_path(&format!("{}v2/", endpoint.base.path()));
        let call = Call::new(&endpoint, Method::GET, url, &[]);
        self.driver.run(self.transport.send(&call)).map(drop)
    }

    /// Returns what ends all transfers of this client and its clones.
    pub fn canceller(&self) -> Canceller {
        self.driver.canceller()
    }

    /// Returns the files of certificates of authorities that the user named, for any host.
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        let settings = self.settings.given();
        let named = settings.certificates.values();
        let named = named.flat_map(|host| &host.authorities);
        let all = settings.certificate_files.iter().chain(named);
        all.cloned().collect()
    }

    /// Returns the manifest or index that `reference` names: by its digest, else by its tag.
    ///
    /// Mirrors are asked first. A digest, if given, is checked.
    pub fn resolve(&self, reference: &Reference) -> Result<FetchedDocument> {
        match reference.digest() {
            Some(digest) => self.manifest(reference, digest),
            None => self.document(reference, reference.tag().unwrap_or("latest"), None),
        }
    }

    /// Returns the manifest or index `digest` of the repository of `reference`.
    pub fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<FetchedDocument> {
        self.document(reference, digest.as_str(), Some(digest))
    }

    /// Returns the content of a blob of the repository of `reference`; it is not asked for
    /// before the first read.
    pub fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobReader> {
        self.reader(reference, descriptor, None)
    }

    /// Returns the bytes in `range` of a blob of the repository of `reference`; they are not
    /// asked for before the first read. Their digest is the caller's business.
    pub fn blob_part(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobReader> {
        self.reader(reference, descriptor, Some(range))
    }

    fn reader(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        range: Option<Range<u64>>,
    ) -> Result<BlobReader> {
        let endpoints = self.endpoints_to_read(reference)?;
        let (driver, transport) = (&self.driver, &self.transport);
        Ok(BlobReader::new(
            driver, transport, endpoints, descriptor, range,
        ))
    }

    fn endpoints_to_read(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let mut endpoints = Endpoint::to_read(reference, self.settings.get()?)?;
        for endpoint in &mut endpoints {
            self.settle(endpoint)?;
        }
        Ok(endpoints)
    }

    fn endpoint_to_write(&self, reference: &Reference) -> Result<Endpoint> {
        let mut endpoint = Endpoint::to_write(reference, self.settings.get()?)?;
        self.settle(&mut endpoint)?;
        Ok(endpoint)
    }

    /// Finds out whether a registry that may do without TLS does.
    fn settle(&self, endpoint: &mut Endpoint) -> Result<()> {
        let url = endpoint.url("");
        self.driver.run(async {
            let settled = self.transport.http.settle(&mut endpoint.base).await;
            settled.map_err(|fault| Error::Request {
                action: "ask",
                host: authority(&url),
                path: url.path().to_owned(),
                attempts: 1,
                cause: fault.cause,
            })
        })
    }

    /// Returns the file at an address of the web, unless it is the one that is known.
    ///
    /// The answer is there when this returns; the content comes as it is read.
    pub fn file(&self, request: &WebRequest<'_>) -> Result<WebAnswer> {
        web::fetch(&self.driver, &self.transport, request)
    }

    /// Brings a blob into the repository of `target`.
    ///
    /// `open` is called at least once per attempt and reads the blob from a position on.
    /// `mount_from` is a repository of the same registry that has the blob; one of another
    /// registry is of no use.
    pub fn push_blob(
        &self,
        target: &Reference,
        descriptor: &Descriptor,
        open: impl Fn(u64) -> io::Result<Box<dyn Read + Send>> + Sync,
        mount_from: Option<&Reference>,
    ) -> Result<Pushed> {
        let endpoint = self.endpoint_to_write(target)?;
        let upload = Upload {
            transport: &self.transport,
            endpoint: &endpoint,
            open: &open,
        };
        let mount_from = mount_from.filter(|source| source.registry() == target.registry());
        self.driver.run(upload.push(descriptor, mount_from))
    }

    /// Brings a blob that is still being made into the repository of `target`, as it grows;
    /// returns what it became. Errors: also when it is never whole.
    pub fn push_growing(
        &self,
        target: &Reference,
        blob: &dyn GrowingBlob,
    ) -> Result<(Descriptor, Pushed)> {
        let endpoint = self.endpoint_to_write(target)?;
        let open = |position| blob.open(position);
        let upload = Upload {
            transport: &self.transport,
            endpoint: &endpoint,
            open: &open,
        };
        self.driver.run(upload.push_growing(blob))
    }

    /// Puts a manifest or index under the tag of `target`, else under its digest.
    ///
    /// Everything it names must be there already. Returns its descriptor.
    pub fn push_manifest(
        &self,
        target: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Descriptor> {
        let descriptor = Descriptor::of_bytes(media_type.clone(), bytes);
        let tag = target.tag().filter(|_| target.digest().is_none());
        let name = tag.map_or_else(|| descriptor.digest.to_string(), str::to_owned);
        let endpoint = self.endpoint_to_write(target)?;
        let scopes = [endpoint.scope("pull,push")];
        let url = endpoint.url(&format!("manifests/{name}"));
        let mut call = Call::new(&endpoint, Method::PUT, url, &scopes);
        let kind = HeaderValue::from_str(media_type.as_str()).map_err(|_| {
            call.error(
                0,
                Cause::Protocol(format!("`{media_type}` cannot be sent as a media type")),
            )
        })?;
        call.headers.insert(CONTENT_TYPE, kind);
        let body = Bytes::copy_from_slice(bytes);
        call.payload = Payload::Bytes(&body);
        let is_listed = self.driver.run(async {
            let response = self.transport.send(&call).await?;
            Ok(response.headers().contains_key("oci-subject"))
        })?;
        if !is_listed
            && let Ok(Document::Manifest(manifest)) = Document::parse(bytes, None)
            && let Some(subject) = &manifest.subject
        {
            self.list_referrer(target, subject, referrer(&manifest, &descriptor))?;
        }
        Ok(descriptor)
    }

    /// Adds `added` to what refers to `subject`, where the registry does not do so itself.
    fn list_referrer(
        &self,
        target: &Reference,
        subject: &Descriptor,
        added: Descriptor,
    ) -> Result<()> {
        let known = self.referrers(target, &subject.digest)?;
        if known.iter().any(|one| one.digest == added.digest) {
            return Ok(());
        }
        let index = listing::with_referrer(known, added);
        let name = listing::fallback_name(target, &subject.digest)?;
        let media_type = index.media_type.clone();
        self.push_manifest(&name, &media_type, &index.to_bytes())?;
        Ok(())
    }

    /// Returns the tags of the repository of `reference`, from its registry itself.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        let endpoint = self.endpoint_to_write(reference)?;
        self.driver.run(listing::tags(&self.transport, &endpoint))
    }

    /// Returns what refers to the manifest `digest` of the repository of `reference`:
    /// signatures, attestations and other artifacts that have it as their subject.
    pub fn referrers(&self, reference: &Reference, digest: &Digest) -> Result<Vec<Descriptor>> {
        let endpoint = self.endpoint_to_write(reference)?;
        let referrers = listing::referrers(&self.transport, &endpoint, digest);
        self.driver.run(referrers)
    }

    fn document(
        &self,
        reference: &Reference,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<FetchedDocument> {
        let endpoints = self.endpoints_to_read(reference)?;
        let (origin, mirrors) = endpoints
            .split_last()
            .ok_or_else(|| no_endpoint(reference))?;
        for mirror in mirrors {
            match self.document_at(mirror, name, expected) {
                Ok(document) => return Ok(document),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                // Whatever ails a mirror, the registry itself may serve.
                Err(_) => {}
            }
        }
        self.document_at(origin, name, expected)
    }

    fn document_at(
        &self,
        endpoint: &Endpoint,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<FetchedDocument> {
        let scopes = [endpoint.scope("pull")];
        let url = endpoint.url(&format!("manifests/{name}"));
        let mut call = Call::new(endpoint, Method::GET, url.clone(), &scopes);
        for media_type in ACCEPTED {
            call.headers
                .append(ACCEPT, HeaderValue::from_static(media_type));
        }
        let (bytes, transport_media_type) = self.driver.run(self.fetch(&call))?;
        check_digest(&url, expected, &bytes)?;
        let document = Document::parse(&bytes, transport_media_type.as_deref());
        let document = document.map_err(|source| {
            let (host, path) = (authority(&url), url.path().to_owned());
            Error::Document { host, path, source }
        })?;
        let mut descriptor = Descriptor::of_bytes(document.media_type().clone(), &bytes);
        if let Some(digest) = expected {
            descriptor.digest = digest.clone();
        }
        Ok(FetchedDocument {
            descriptor,
            bytes,
            document,
        })
    }

    /// Returns the body, and the `Content-Type` that came with it.
    async fn fetch(&self, call: &Call<'_>) -> Result<(Vec<u8>, Option<String>)> {
        let mut attempts = Attempts::default();
        loop {
            let response = self.transport.send(call).await?;
            let media_type = content_type(&response);
            let timeout = self.transport.http.timeouts.document;
            let fault = match read_whole(response, MAX_DOCUMENT_BYTES as u64, timeout).await {
                Ok(bytes) => return Ok((bytes, media_type)),
                Err(fault) => fault,
            };
            let waited = self.transport.pause_or_fail(call, &mut attempts, fault);
            waited.await?;
        }
    }
}

/// Returns the manifest `descriptor` as lists of referrers have it.
fn referrer(manifest: &Manifest, descriptor: &Descriptor) -> Descriptor {
    let mut referrer = descriptor.clone();
    let kind = manifest.artifact_type.clone();
    let kind = kind.unwrap_or_else(|| manifest.config.media_type.to_string());
    referrer.artifact_type = Some(kind);
    referrer.annotations = manifest.annotations.clone();
    referrer
}

fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.to_owned())
}

fn check_digest(url: &Url, expected: Option<&Digest>, bytes: &[u8]) -> Result<()> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let found = Digest::of(expected.algorithm(), bytes);
    match found == *expected {
        true => Ok(()),
        false => Err(Error::WrongDigest {
            host: authority(url),
            expected: expected.clone(),
            found,
        }),
    }
}

fn no_endpoint(reference: &Reference) -> Error {
    let (text, reason) = (reference.registry().to_owned(), "it is nowhere".to_owned());
    Error::Address { text, reason }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
