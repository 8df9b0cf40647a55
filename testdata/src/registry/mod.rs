//! A registry inside the test process, with faults on demand.
//!
//! Speaks as much of the distribution protocol as a client needs to pull and push, one
//! connection per request and one thread per connection. Every request is noted.

mod http;
mod image;
mod serve;
mod uploads;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

pub use http::Request;
pub use image::{Layer, digest_of};

/// What the registry does wrong. Faults that have a number end after that many times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every request is answered with this status.
    Status {
        /// The status.
        code: u16,
        /// How often.
        times: u32,
    },
    /// Blobs break off in the middle, although their length was announced.
    CutBlobs {
        /// How often.
        times: u32,
    },
    /// Blobs are shorter than they should be, and end as if that were all.
    ShortBlobs,
    /// Blobs are longer than they should be.
    LongBlobs,
    /// Blobs have the right length and wrong bytes.
    WrongBlobs,
    /// Blobs are elsewhere: their paths are appended to this address.
    RedirectBlobs(String),
    /// Every request is redirected to itself.
    RedirectLoop,
    /// Manifests never end.
    EndlessManifests,
    /// Manifests come as this media type.
    ManifestType(String),
    /// Every request is answered with 429 and this `Retry-After`.
    RateLimit {
        /// Seconds or a date.
        after: String,
        /// How often.
        times: u32,
    },
    /// Blobs come slowly.
    SlowBlobs {
        /// So many bytes every ten milliseconds.
        bytes: usize,
    },
    /// Nothing of a blob comes, for so long.
    StalledBlobs(Duration),
    /// The connection is reset instead of an answer.
    Reset {
        /// How often.
        times: u32,
    },
    /// Blobs always come whole, whatever is asked for.
    NoRanges,
    /// A token is good for so many requests.
    ShortTokens(u32),
    /// The token endpoint answers with this status and body.
    TokenAnswer {
        /// The status.
        code: u16,
        /// The body.
        body: String,
    },
    /// Only the first half of what is sent of a blob arrives, and then the connection ends.
    CutUploads {
        /// How often.
        times: u32,
    },
    /// Blobs are taken in one request only.
    NoUploadsInParts,
    /// Uploads that broke are forgotten.
    ForgottenUploads {
        /// How often uploads break.
        times: u32,
    },
    /// Lists of tags and of referrers are this document, and go on there.
    Lists {
        /// The document.
        body: String,
        /// The address of the next page.
        next: String,
    },
    /// Sends of blobs are refused with this status.
    RefuseUploads {
        /// The status.
        code: u16,
        /// How often.
        times: u32,
    },
}

/// Who is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Guard {
    /// Everybody.
    #[default]
    Open,
    /// Who has this name and password, as base64 of `name:password`.
    Basic(String),
    /// Who has a token, which `/token` gives for this name and password.
    Token(String),
    /// Nobody, although `/token` gives tokens.
    Nobody,
    /// Who has a token from this realm.
    Realm(String),
}

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    guard: Guard,
    /// Repository and tag or digest → media type and bytes.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Repository and digest → bytes.
    blobs: BTreeMap<(String, String), Vec<u8>>,
    /// What has come of uploads, by their number.
    uploads: BTreeMap<u64, Vec<u8>>,
    begun_uploads: u64,
    /// How many requests the present token was used for, and its number.
    token_uses: u32,
    token_number: u32,
    requests: Vec<Request>,
}

/// A running registry. It ends with the process.
#[derive(Debug)]
pub struct FakeRegistry {
    port: u16,
    state: Arc<Mutex<State>>,
    sent: Arc<AtomicU64>,
}

impl FakeRegistry {
    /// Starts an empty registry without faults that lets everybody in.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("a bound port").port();
        let state = Arc::new(Mutex::new(State::default()));
        let sent = Arc::new(AtomicU64::new(0));
        let shared = (Arc::clone(&state), Arc::clone(&sent));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, sent) = shared.clone();
                // A client that goes away is no failure of the registry.
                thread::spawn(move || drop(serve::answer(&state, &sent, stream, port)));
            }
        });
        Self { port, state, sent }
    }

    /// Returns how many bytes of bodies have been sent so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns host and port, as they stand in image names.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no request handler panics")
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// Sets who is let in from now on.
    pub fn set_guard(&self, guard: Guard) {
        self.lock().guard = guard;
    }

    /// Returns the requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// Returns how many requests so far have this method and a path that contains `part`.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let is_meant = |one: &&Request| one.method == method && one.path.contains(part);
        self.lock().requests.iter().filter(is_meant).count()
    }

    /// Adds a blob and returns its digest.
    pub fn add_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        self.lock()
            .blobs
            .insert((repository.to_owned(), digest.clone()), bytes.to_vec());
        digest
    }

    /// Adds a manifest or index under `tag` and its digest, which is returned.
    pub fn add_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let digest = digest_of(bytes);
        for name in [tag, &digest] {
            let entry = (media_type.to_owned(), bytes.to_vec());
            self.lock()
                .manifests
                .insert((repository.to_owned(), name.to_owned()), entry);
        }
        digest
    }

    /// Adds an image of `layers`, bottom first, and returns its manifest's digest.
    pub fn add_image(&self, repository: &str, tag: &str, layers: &[Layer]) -> String {
        image::add(self, repository, tag, layers)
    }

    /// Returns the bytes of a blob.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        self.lock()
            .blobs
            .get(&(repository.to_owned(), digest.to_owned()))
            .cloned()
    }

    /// Returns the bytes of a manifest or index.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        state
            .manifests
            .get(&(repository.to_owned(), name.to_owned()))
            .map(|(_, bytes)| bytes.clone())
    }
}
