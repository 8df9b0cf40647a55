//! What can go wrong with a registry or a file: which host, which request, why.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kiln_oci::{Digest, DocumentError, ReferenceError};

/// The result of a registry operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A registry operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request failed for good.
    #[error("cannot {action} {host}{path}{}", after(*.attempts))]
    Request {
        /// What was tried: `GET`, `PUT`.
        action: &'static str,
        /// The host, with its port unless it is the scheme's own.
        host: String,
        /// The path of the request, without query.
        path: String,
        /// How often it was tried.
        attempts: u32,
        /// Why it failed the last time.
        #[source]
        cause: Cause,
    },
    /// A document that was fetched is not what it should be.
    #[error("the document at {host}{path} is refused")]
    Document {
        /// The host that served it.
        host: String,
        /// The path of the request.
        path: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// The bytes are not those that were asked for.
    #[error("{host} served wrong content for {expected}: it has digest {found}")]
    WrongDigest {
        /// The host that served it.
        host: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A blob ended early.
    #[error("short blob {digest} from {host}: got {found} of {expected} bytes")]
    ShortBlob {
        /// The host that served it.
        host: String,
        /// The blob.
        digest: Digest,
        /// How many bytes it should have.
        expected: u64,
        /// How many came.
        found: u64,
    },
    /// A blob has more bytes than its descriptor says; reading stopped there.
    #[error("blob {digest} from {host} is longer than its {expected} bytes")]
    LongBlob {
        /// The host that served it.
        host: String,
        /// The blob.
        digest: Digest,
        /// How many bytes it should have.
        expected: u64,
    },
    /// The bytes to be pushed could not be read.
    #[error("cannot read {blob} to push it")]
    Source {
        /// The blob, in words.
        blob: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stored credentials of a registry could not be had.
    #[error("cannot get the credentials of {host}: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// Why, in words.
        reason: String,
    },
    /// A login could not be kept or forgotten.
    #[error("cannot change the login for {host}: {reason}")]
    Logins {
        /// The registry.
        host: String,
        /// Why, in words.
        reason: String,
    },
    /// A file broke off and cannot be resumed: it may be another one by now.
    #[error("{host}{path} broke off after {received} bytes")]
    Interrupted {
        /// The host, with its port unless it is the scheme's own.
        host: String,
        /// The path of the request, without query.
        path: String,
        /// How many bytes came.
        received: u64,
        /// Why it broke off.
        #[source]
        cause: Cause,
    },
    /// The address of a file is malformed.
    #[error("`{text}` is no address of a file: {reason}")]
    FileAddress {
        /// What was given, without passwords.
        text: String,
        /// Why.
        reason: String,
    },
    /// The user's settings forbid the image's registry.
    #[error("{name} is blocked by {}", .path.display())]
    Blocked {
        /// The repository.
        name: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// A file of settings is of no use.
    #[error("cannot use the registry settings in {}: {reason}", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why, in words.
        reason: String,
    },
    /// What must be known of a registry's certificates cannot be.
    #[error("cannot use the certificates of {registry}: {reason}")]
    Certificates {
        /// The registry.
        registry: String,
        /// Why, in words.
        reason: String,
    },
    /// A mirror's address is malformed.
    #[error("`{text}` is no address of a registry: {reason}")]
    Address {
        /// What was given.
        text: String,
        /// Why.
        reason: String,
    },
    /// A name lacks what the operation needs, or is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The client could not be set up.
    #[error("cannot set up the registry client: {reason}")]
    Setup {
        /// Why, in words.
        reason: String,
    },
    /// [`Canceller::cancel`](crate::Canceller::cancel) was called.
    #[error("the transfer was cancelled")]
    Cancelled,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The server answered with an error.
    #[error("the server answered {}{}", status(*.code), colon(.message))]
    Status {
        /// The HTTP status.
        code: u16,
        /// What the registry says about it, made printable and cut short.
        message: String,
    },
    /// The registry asks to come back later, again and again.
    #[error("rate limited by {host}{}", colon(.message))]
    RateLimited {
        /// The host.
        host: String,
        /// What the registry says about it, and when it asks to come back.
        message: String,
    },
    /// The registry wants (other) credentials.
    #[error("unauthorized: {reason}")]
    Unauthorized {
        /// Why, in words.
        reason: String,
    },
    /// No token could be had.
    #[error("authentication: token endpoint {realm}: {reason}")]
    Token {
        /// Scheme, host and path of the token endpoint.
        realm: String,
        /// Why, in words.
        reason: String,
    },
    /// A certificate that the settings name cannot be used.
    #[error("{0}")]
    Certificates(String),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The connection could not be made or broke.
    #[error("{0}")]
    Connection(String),
    /// Nothing, or next to nothing, came for too long.
    #[error("too little came for {} seconds", .0.as_secs())]
    Stalled(Duration),
    /// The answer took too long as a whole.
    #[error("the answer was not complete after {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The answer has more bytes than any valid one.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes allowed.
        limit: u64,
    },
    /// The answer breaks the protocol.
    #[error("the server breaks the protocol: {0}")]
    Protocol(String),
    /// The registry redirects without end, or to where nobody should follow.
    #[error("redirect refused: {0}")]
    Redirect(String),
}

impl Error {
    /// Whether the registry says that it has no such manifest, blob or repository.
    pub fn is_not_found(&self) -> bool {
        let Self::Request {
            cause: Cause::Status { code, .. },
            ..
        } = self
        else {
            return false;
        };
        *code == 404
    }

    /// Whether better credentials may help.
    pub fn is_unauthorized(&self) -> bool {
        let Self::Request { cause, .. } = self else {
            return false;
        };
        match cause {
            Cause::Unauthorized { .. } => true,
            Cause::Status { code, .. } => matches!(code, 401 | 403),
            _ => false,
        }
    }
}

fn after(attempts: u32) -> String {
    match attempts {
        0 | 1 => String::new(),
        attempts => format!(" (tried {attempts} times)"),
    }
}

fn colon(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!(": {text}"),
    }
}

fn status(code: u16) -> String {
    let reason = reqwest::StatusCode::from_u16(code)
        .ok()
        .and_then(|code| code.canonical_reason());
    match reason {
        Some(reason) => format!("{code} {reason}"),
        None => code.to_string(),
    }
}
