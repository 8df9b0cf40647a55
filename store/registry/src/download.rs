//! Blobs on their way in, whole or in part.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Algorithm, Descriptor, Digest};
use reqwest::header::{HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use sha2::{Digest as _, Sha256, Sha512};

use crate::endpoint::{Endpoint, authority};
use crate::error::{Cause, Error, Result};
use crate::retry::{Fault, Retry};
use crate::runtime::Driver;
use crate::stream::{Broken, Flow, Opened, Outcome, Stream, Supply, starts_at};
use crate::transport::{Call, Transport};

/// The content of a blob, or of a part of it; a broken transfer is resumed where it broke.
///
/// The end of the stream is reached only if size and digest are right; of a part nobody can
/// know the digest. Errors are [`io::Error`]s with an [`Error`] inside.
pub struct BlobReader {
    stream: Stream<Blob>,
}

/// What is read, and what is known of it.
struct Blob {
    /// Where to read; the first is left for the next when it fails for good.
    endpoints: Vec<Endpoint>,
    descriptor: Descriptor,
    /// Where reading ends.
    end: u64,
    part: Part,
    check: Check,
}

/// Whether a part of the blob is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it, or the rest of it after an interruption.
    Whole,
    /// A part; what the server makes of that is not known yet.
    Asked,
    /// A part; the server sends parts.
    Granted,
    /// A part; the server sends everything.
    Ignored,
}

/// The digest, as far as the bytes have come.
enum Check {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
    /// The caller computes it.
    Skipped,
}

impl BlobReader {
    /// Returns a reader of the bytes in `range`, of all if there is none.
    pub(crate) fn new(
        driver: &Driver,
        transport: &Arc<Transport>,
        endpoints: Vec<Endpoint>,
        descriptor: &Descriptor,
        range: Option<Range<u64>>,
    ) -> Self {
        let check = match descriptor.digest.algorithm() {
            _ if range.is_some() => Check::Skipped,
            Algorithm::Sha256 => Check::Sha256(Sha256::new()),
            Algorithm::Sha512 => Check::Sha512(Box::new(Sha512::new())),
        };
        let part = match &range {
            Some(range) if *range != (0..descriptor.size) => Part::Asked,
            _ => Part::Whole,
        };
        let Range { start, end } = range.unwrap_or(0..descriptor.size);
        let blob = Blob {
            endpoints,
            descriptor: descriptor.clone(),
            end,
            part,
            check,
        };
        Self {
            stream: Stream::new(driver, transport, blob, start),
        }
    }

    /// Leaves the digest to the caller, who computes it anyway; the size is still checked.
    pub fn without_digest_check(mut self) -> Self {
        self.stream.supply.check = Check::Skipped;
        self
    }

    /// Whether the server sends parts; not known before the first read of one.
    pub fn sends_parts(&self) -> Option<bool> {
        match self.stream.supply.part {
            Part::Granted => Some(true),
            Part::Ignored => Some(false),
            Part::Whole | Part::Asked => None,
        }
    }

    /// Makes the reader of a part, while it has not come to its end, go on to that of the blob.
    pub fn go_on_to_end(&mut self) {
        self.stream.supply.end = self.stream.supply.descriptor.size;
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Supply for Blob {
    async fn connect(&mut self, transport: &Transport, position: u64) -> Outcome<Opened> {
        let endpoint = &self.endpoints[0];
        let scopes = [endpoint.scope("pull")];
        let answer = transport.attempt(&self.call(position, &scopes)).await;
        let response = match answer {
            Ok(response) => response,
            Err(fault) => return Ok(Err(fault)),
        };
        let (skip, length) = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, position) => {
                self.learn(Part::Granted);
                (0, self.end - position)
            }
            StatusCode::OK => {
                self.learn(Part::Ignored);
                (position, self.descriptor.size)
            }
            status => {
                let text = format!("it answered {status} for another range than asked");
                return Ok(Err(Fault::never(Cause::Protocol(text))));
            }
        };
        match announces_more(&response, length) {
            true => Err(self.too_long()),
            false => Ok(Ok(Opened { response, skip })),
        }
    }

    fn accept(&mut self, position: u64, chunk: &mut Bytes) -> Result<Flow> {
        let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        // What follows a part in an answer with everything belongs to other parts.
        let stops_early = self.part == Part::Ignored && self.end < self.descriptor.size;
        if chunk.len() > left {
            if !stops_early {
                return Err(self.too_long());
            }
            chunk.truncate(left);
        }
        let flow = match stops_early && chunk.len() == left {
            true => Flow::Done,
            false => Flow::Continue,
        };
        match &mut self.check {
            Check::Sha256(hasher) => hasher.update(chunk),
            Check::Sha512(hasher) => hasher.update(chunk),
            Check::Skipped => {}
        }
        Ok(flow)
    }

    /// The server says that this is all.
    fn end(&mut self, position: u64) -> Outcome<()> {
        if position < self.end {
            let text = "the body ended early".to_owned();
            return Ok(Err(Fault {
                cause: Cause::Connection(text),
                retry: Retry::After(None),
            }));
        }
        let found = match std::mem::replace(&mut self.check, Check::Skipped) {
            Check::Sha256(hasher) => Digest::from_sha256(hasher.finalize().into()),
            Check::Sha512(hasher) => Digest::from_sha512(hasher.finalize().into()),
            Check::Skipped => return Ok(Ok(())),
        };
        match found == self.descriptor.digest {
            true => Ok(Ok(())),
            false => Err(Error::WrongDigest {
                host: self.host(),
                expected: self.descriptor.digest.clone(),
                found,
            }),
        }
    }

    fn url(&self) -> Url {
        self.endpoints[0].url(&format!("blobs/{}", self.descriptor.digest))
    }

    fn give_up(&mut self, broken: Broken) -> Option<Error> {
        if self.endpoints.len() > 1 {
            self.endpoints.remove(0);
            return None;
        }
        // A server that has no such range has no more than what came.
        let is_short = match &broken.cause {
            Cause::Connection(_) => broken.was_open,
            Cause::Status { code, .. } => *code == 416 && broken.position > 0,
            _ => false,
        };
        Some(match is_short {
            true => Error::ShortBlob {
                host: self.host(),
                digest: self.descriptor.digest.clone(),
                expected: self.descriptor.size,
                found: broken.position,
            },
            false => self.call(0, &[]).error(broken.attempts, broken.cause),
        })
    }
}

impl Blob {
    fn call<'a>(&'a self, position: u64, scopes: &'a [String]) -> Call<'a> {
        let range = match self.end == self.descriptor.size {
            true if position == 0 && self.part == Part::Whole => None,
            true => Some(format!("bytes={position}-")),
            false => Some(format!("bytes={position}-{}", self.end - 1)),
        };
        let mut headers = HeaderMap::new();
        if let Some(Ok(range)) = range.map(|range| HeaderValue::from_str(&range)) {
            headers.insert(RANGE, range);
        }
        Call {
            headers,
            ..Call::new(&self.endpoints[0], Method::GET, self.url(), scopes)
        }
    }

    /// Takes note of what the server makes of a wish for a part.
    fn learn(&mut self, found: Part) {
        if self.part != Part::Whole {
            self.part = found;
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

fn announces_more(response: &Response, length: u64) -> bool {
    response
        .content_length()
        .is_some_and(|announced| announced > length)
}
