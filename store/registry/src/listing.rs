//! What a repository has: its tags, and what refers to an image.
//! Specification: OCI distribution-spec, "Content Discovery" and "Listing Referrers".

use std::collections::HashSet;

use kiln_oci::{Descriptor, Digest, Document, Index, MediaFamily, MediaType, Reference};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::body::read_whole;
use crate::endpoint::{Endpoint, authority};
use crate::error::{Cause, Error, Result};
use crate::transport::{Call, Transport};

/// The most pages of a list that are asked for.
const MOST_PAGES: usize = 1000;
/// The most bytes of one page.
const MOST_PAGE_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

/// Returns the tags of the repository at `endpoint`, as its registry sorts them.
pub(crate) async fn tags(transport: &Transport, endpoint: &Endpoint) -> Result<Vec<String>> {
    let scopes = [endpoint.scope("pull")];
    let mut tags = Vec::new();
    let mut pages = Pages::begin(endpoint.url("tags/list"));
    while let Some(url) = pages.take() {
        let call = Call::new(endpoint, Method::GET, url, &scopes);
        let (bytes, headers, url) = page(transport, &call).await?;
        let list: TagList = serde_json::from_slice(&bytes).map_err(|error| {
            call.error(1, Cause::Protocol(format!("its list of tags: {error}")))
        })?;
        let found = list.tags.unwrap_or_default();
        // They are shown on terminals and asked for by name.
        if let Some(tag) = found.iter().find(|tag| !Reference::is_tag(tag)) {
            let text = format!("its list of tags has {tag:?}, which is no tag");
            return Err(call.error(1, Cause::Protocol(text)));
        }
        tags.extend(found);
        pages.go_on(&call, &url, &headers)?;
    }
    Ok(tags)
}

/// The pages of a list: each once, and not too many.
struct Pages {
    next: Option<Url>,
    taken: HashSet<Url>,
}

impl Pages {
    fn begin(first: Url) -> Self {
        Pages {
            next: Some(first),
            taken: HashSet::new(),
        }
    }

    /// Returns the page to ask for, if there is one.
    fn take(&mut self) -> Option<Url> {
        let next = self.next.take()?;
        self.taken.insert(next.clone());
        Some(next)
    }

    /// Notes what follows the page that came from `url` with `headers`.
    fn go_on(&mut self, call: &Call<'_>, url: &Url, headers: &HeaderMap) -> Result<()> {
        self.next = following(url, headers);
        let text = match &self.next {
            Some(next) if self.taken.contains(next) => {
                "its list leads back to a page that was read".to_owned()
            }
            Some(_) if self.taken.len() >= MOST_PAGES => {
                format!("its list has more than {MOST_PAGES} pages")
            }
            _ => return Ok(()),
        };
        Err(call.error(1, Cause::Protocol(text)))
    }
}

/// Returns what refers to the manifest `digest`, by the API or by the tag that stands for it.
pub(crate) async fn referrers(
    transport: &Transport,
    endpoint: &Endpoint,
    digest: &Digest,
) -> Result<Vec<Descriptor>> {
    let scopes = [endpoint.scope("pull")];
    let api = endpoint.url(&format!("referrers/{digest}"));
    let tag = endpoint.url(&format!("manifests/{}", fallback_tag(digest)));
    let mut referrers = Vec::new();
    for first in [api, tag] {
        let mut pages = Pages::begin(first);
        while let Some(url) = pages.take() {
            let mut call = Call::new(endpoint, Method::GET, url, &scopes);
            // Registries that have the list as a manifest do not show it to who takes no indexes.
            call.headers
                .insert(ACCEPT, HeaderValue::from_static(MediaType::OCI_INDEX));
            match page(transport, &call).await {
                Ok((bytes, headers, url)) => {
                    referrers.extend(entries(&call, &bytes)?);
                    pages.go_on(&call, &url, &headers)?;
                }
                Err(error) if error.is_not_found() => break,
                Err(error) => return Err(error),
            }
            if pages.next.is_none() {
                return Ok(referrers);
            }
        }
    }
    Ok(referrers)
}

fn entries(call: &Call<'_>, bytes: &[u8]) -> Result<Vec<Descriptor>> {
    match Document::parse(bytes, None) {
        Ok(Document::Index(Index { manifests, .. })) => Ok(manifests),
        Ok(Document::Manifest(_)) => {
            let text = "its list of referrers is no index".to_owned();
            Err(call.error(1, Cause::Protocol(text)))
        }
        Err(source) => Err(Error::Document {
            host: authority(&call.url),
            path: call.url.path().to_owned(),
            source,
        }),
    }
}

/// Returns the tag under which registries without the API have the referrers of `digest`.
pub(crate) fn fallback_tag(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex())
}

/// Returns the list of referrers with `added` among them.
pub(crate) fn with_referrer(mut known: Vec<Descriptor>, added: Descriptor) -> Index {
    known.retain(|one| one.digest != added.digest);
    known.push(added);
    Index::new(MediaFamily::Oci, known)
}

/// Returns a body, its headers, and where it came from.
async fn page(transport: &Transport, call: &Call<'_>) -> Result<(Vec<u8>, HeaderMap, Url)> {
    let response = transport.send(call).await?;
    let (headers, url) = (response.headers().clone(), response.url().clone());
    let timeout = transport.http.timeouts.document;
    let bytes = read_whole(response, MOST_PAGE_BYTES, timeout).await;
    let bytes = bytes.map_err(|fault| call.error(1, fault.cause))?;
    Ok((bytes, headers, url))
}

/// Returns the next page, as `Link: <…>; rel="next"` says: that path on the same host, for what
/// a registry behind a proxy takes its own address for may be another.
fn following(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let text = headers.get(LINK)?.to_str().ok()?;
    let (address, relation) = text.strip_prefix('<')?.split_once('>')?;
    let is_next = relation.contains("rel=\"next\"") || relation.contains("rel=next");
    let said = url.join(address).ok().filter(|_| is_next)?;
    let mut next = url.clone();
    next.set_path(said.path());
    next.set_query(said.query());
    Some(next)
}

/// Returns the repository of `reference` under its fallback tag for `digest`.
pub(crate) fn fallback_name(reference: &Reference, digest: &Digest) -> Result<Reference> {
    Ok(reference.with_tag(&fallback_tag(digest))?)
}
