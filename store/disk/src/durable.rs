//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{At, Error, Result};
use crate::session::Temporary;

/// Makes the names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    let file = File::open(directory).at("open", directory)?;
    file.sync_all().at("write to disk", directory)
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

fn write_json<T: Serialize>(temporary: &Temporary, value: &T) -> Result<()> {
    let path = temporary.path();
    let malformed = |source| Error::Malformed {
        path: path.to_owned(),
        source,
    };
    let mut bytes = serde_json::to_vec(value).map_err(malformed)?;
    bytes.push(b'\n');
    (&temporary.file).write_all(&bytes).at("write", path)
}

/// Returns what the JSON file `path` says; `None` when there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("read", path),
    };
    let malformed = |source| Error::Malformed {
        path: path.to_owned(),
        source,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

/// Like [`read_json`], but a malformed file counts as none: for what was written lazily.
pub(crate) fn read_json_or_forget<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match read_json(path) {
        Err(Error::Malformed { .. }) => Ok(None),
        other => other,
    }
}
