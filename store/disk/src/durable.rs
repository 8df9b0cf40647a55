//! Files that appear whole or not at all.
//!
//! What a store says about itself, cache records and names are a line of JSON and its digest:
//! a cache may forget, but a flipped bit must not make it lie.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::Path;

use kiln_oci::Digest;
use rustix::fs::Advice;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{At, Error, Result};
use crate::session::Temporary;

/// Makes the names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    let file = File::open(directory).at("open", directory)?;
    file.sync_all().at("write to disk", directory)
}

/// Lets the kernel begin to write what `file` got from `begun` up to `end` to the disk, so that
/// less is left to wait for when it is synced.
pub(crate) fn begin_writing(file: &File, begun: &mut u64, end: u64) {
    // Who says that pages are not needed has the changed ones written; those stay until then.
    if let Some(length) = NonZeroU64::new(end.saturating_sub(*begun)) {
        let _ = rustix::fs::fadvise(file, *begun, Some(length), Advice::DontNeed);
    }
    *begun = end;
}

/// Makes `temporary` durable under the name `target`, in place of what had the name.
pub(crate) fn publish(temporary: Temporary, target: &Path) -> Result<()> {
    temporary.sync()?;
    temporary.rename(target)?;
    match target.parent() {
        Some(directory) => sync_directory(directory),
        None => Ok(()),
    }
}

/// Writes `value` to `temporary` and publishes it as `target`.
pub(crate) fn write_json_through<T: Serialize>(
    temporary: Temporary,
    target: &Path,
    value: &T,
) -> Result<()> {
    write_json(&temporary, value)?;
    publish(temporary, target)
}

/// Writes `value` to `temporary` and names it `target`, without waiting for the disk.
///
/// After a power cut the file may be absent, empty or old: for what can be found again.
pub(crate) fn write_json_lazily<T: Serialize>(
    temporary: Temporary,
    target: &Path,
    value: &T,
) -> Result<()> {
    write_json(&temporary, value)?;
    temporary.rename(target)
}

/// Writes `value` as one line of JSON, and the digest of that line as a second one.
fn write_json<T: Serialize>(temporary: &Temporary, value: &T) -> Result<()> {
    let path = temporary.path();
    let malformed = |source| Error::Malformed {
        path: path.to_owned(),
        source,
    };
    let mut bytes = serde_json::to_vec(value).map_err(malformed)?;
    let digest = Digest::sha256(&bytes);
    bytes.extend_from_slice(format!("\n{digest}\n").as_bytes());
    (&temporary.file).write_all(&bytes).at("write", path)
}

/// Returns what the JSON file `path` says; `None` when there is none.
///
/// Errors: [`Error::Damaged`] when the second line is not the digest of the first.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => parse(path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let json = lines.next().unwrap_or_default();
    let digest = lines.next().unwrap_or_default();
    if digest != Digest::sha256(json).as_str().as_bytes() {
        return Err(Error::Damaged(path.to_owned()));
    }
    serde_json::from_slice(json).map_err(|source| Error::Malformed {
        path: path.to_owned(),
        source,
    })
}

/// Like [`read_json`], for what was written lazily: a file without content counts as none,
/// for that is what a power cut leaves of one.
pub(crate) fn read_lazy_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match read_json(path) {
        Err(Error::Damaged(_)) if is_blank(path)? => Ok(None),
        other => other,
    }
}

fn is_blank(path: &Path) -> Result<bool> {
    let bytes = std::fs::read(path).at("read", path)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

/// Like [`read_json`], but a damaged file counts as none: for what can be found again.
pub(crate) fn read_json_or_forget<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match read_json(path) {
        Err(Error::Malformed { .. } | Error::Damaged(_)) => Ok(None),
        other => other,
    }
}
