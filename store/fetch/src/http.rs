//! One file of the web, written to disk and hashed on its way.

use crate::FetchError;
use jiff::Timestamp;
use kiln_oci::{Algorithm, Digest};
use kiln_registry::{Client, WebAnswer, WebFile, WebRequest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// No file of a build is larger; an endless one is.
pub const MAXIMUM_BYTES: u64 = 1 << 40;

/// How often a file is fetched from its beginning when it cannot be resumed.
const RESTARTS: u32 = 3;
const BUFFER_BYTES: usize = 256 * 1024;

/// What is fetched.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The address, with what user and password it may hold.
    pub url: &'a str,
    /// The address, for messages.
    pub shown: &'a str,
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
    /// What is known of the file that was fetched before.
    pub known: Option<&'a Validators>,
    /// The digest that the content must have.
    pub checksum: Option<&'a Digest>,
    /// The most bytes that are fetched.
    pub maximum_bytes: u64,
}

/// What tells a server which file is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// The header `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The header `Last-Modified`, where it tells versions apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

impl Validators {
    /// Whether there is nothing that a server could compare.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAnswer {
    /// The file is the known one.
    Unchanged,
    /// A file was written.
    Fetched(HttpFile),
}

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFile {
    /// Digest of its content: of the kind that was demanded, else SHA-256.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// What to compare next time.
    pub validators: Validators,
    /// `Last-Modified`, in seconds since 1970.
    pub modified_seconds: Option<i64>,
}

/// Fetches a file into `path`, which is made with permissions for the owner only, and with
/// the time `Last-Modified`, else that of 1970.
///
/// `progress` is told how many bytes there are, of how many. Errors: a digest that is not the
/// demanded one; the file is then removed, as after all errors.
pub fn fetch(
    client: &Client,
    request: &HttpRequest<'_>,
    path: &Path,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<HttpAnswer, FetchError> {
    let mut file = None;
    for attempt in 1.. {
        let answer = client.file(&WebRequest {
            url: request.url,
            authorization: request.authorization,
            etag: request.known.and_then(|known| known.etag.as_deref()),
            last_modified: request
                .known
                .and_then(|known| known.last_modified.as_deref()),
        });
        let web = match answer.map_err(|source| web_error(request, source))? {
            WebAnswer::Unchanged => return Ok(HttpAnswer::Unchanged),
            WebAnswer::File(web) => web,
        };
        let file = match &mut file {
            Some(file) => file,
            None => file.insert(Unfinished::create(path)?),
        };
        match receive(request, web, file, progress) {
            Ok(fetched) => {
                file.finish(fetched.modified_seconds)?;
                return Ok(HttpAnswer::Fetched(fetched));
            }
            Err(FetchError::Web { source, .. }) if attempt < RESTARTS && is_broken(&source) => {
                file.restart()?;
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last attempt returns")
}

fn web_error(request: &HttpRequest<'_>, source: kiln_registry::Error) -> FetchError {
    let url = request.shown.to_owned();
    let source = Box::new(source);
    FetchError::Web { url, source }
}

fn is_broken(error: &kiln_registry::Error) -> bool {
    matches!(error, kiln_registry::Error::Interrupted { .. })
}

fn receive(
    request: &HttpRequest<'_>,
    mut web: Box<WebFile>,
    file: &mut Unfinished<'_>,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<HttpFile, FetchError> {
    let too_large = || FetchError::TooLarge {
        url: request.shown.to_owned(),
        limit: request.maximum_bytes,
    };
    let expected = web.size();
    if expected.is_some_and(|size| size > request.maximum_bytes) {
        return Err(too_large());
    }
    let mut hash = Hash::of(request.checksum);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let count = web
            .read(&mut buffer)
            .map_err(|error| broken(request, error))?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        if bytes > request.maximum_bytes {
            return Err(too_large());
        }
        hash.update(&buffer[..count]);
        file.write(&buffer[..count])?;
        progress(bytes, expected);
    }
    let digest = hash.finish();
    if let Some(expected) = request.checksum.filter(|expected| **expected != digest) {
        return Err(FetchError::WrongDigest {
            url: request.shown.to_owned(),
            expected: expected.clone(),
            found: digest,
        });
    }
    Ok(HttpFile {
        digest,
        bytes,
        validators: validators(&web),
        modified_seconds: web.last_modified().as_deref().and_then(seconds),
    })
}

/// Returns the registry client's own error that a read failed with.
fn broken(request: &HttpRequest<'_>, error: io::Error) -> FetchError {
    let text = error.to_string();
    let inner = error.into_inner();
    match inner.and_then(|inner| inner.downcast::<kiln_registry::Error>().ok()) {
        Some(source) => web_error(request, *source),
        None => web_error(request, kiln_registry::Error::Setup { reason: text }),
    }
}

/// A time that may be that of two versions (it has whole seconds) is no validator.
fn validators(web: &WebFile) -> Validators {
    let modified = web.last_modified();
    let answered = web.date().as_deref().and_then(seconds);
    let tells_apart = match (modified.as_deref().and_then(seconds), answered) {
        (Some(modified), Some(answered)) => answered > modified + 1,
        _ => false,
    };
    Validators {
        etag: web.etag(),
        last_modified: modified.filter(|_| tells_apart),
    }
}

/// Returns the seconds since 1970 of a date in HTTP's form.
fn seconds(date: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(Timestamp::from(time).as_second())
}

/// A digest in the making.
enum Hash {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hash {
    fn of(checksum: Option<&Digest>) -> Self {
        match checksum.map(Digest::algorithm) {
            Some(Algorithm::Sha512) => Self::Sha512(Box::default()),
            Some(Algorithm::Sha256) | None => Self::Sha256(Sha256::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::from_sha256(hash.finalize().into()),
            Self::Sha512(hash) => Digest::from_sha512(hash.finalize().into()),
        }
    }
}

/// A file that is removed unless it is finished.
struct Unfinished<'a> {
    path: &'a Path,
    file: File,
    finished: bool,
}

impl<'a> Unfinished<'a> {
    fn create(path: &'a Path) -> Result<Self, FetchError> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(FetchError::file("make", path))?;
        Ok(Self {
            path,
            file,
            finished: false,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let written = self.file.write_all(bytes);
        written.map_err(FetchError::file("write", self.path))
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(FetchError::file("empty", self.path))
    }

    /// A file without a time gets the same one always.
    fn finish(&mut self, modified_seconds: Option<i64>) -> Result<(), FetchError> {
        let time = modified_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let time = UNIX_EPOCH + Duration::from_secs(time.unwrap_or(0));
        let set = self.file.set_modified(time);
        set.map_err(FetchError::file("set the time of", self.path))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing is lost if that fails: the directory goes too.
            let _ = std::fs::remove_file(self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_seconds() {
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("yesterday"), None);
    }
}
