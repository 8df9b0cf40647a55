//! Secrets: their values, each read once, and what hides them in output.

mod mask;

pub(crate) use mask::Mask;

use crate::StepError;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The most that a secret may hold, as with BuildKit.
const MAXIMUM_BYTES: u64 = 500 << 10;

/// Where the value of a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In an environment variable of this process.
    Variable(String),
}

/// Secrets by their id. Clones share what was read: a pipe gives its bytes once.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Known>);

#[derive(Default)]
struct Known {
    sources: BTreeMap<String, SecretSource>,
    values: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
}

impl From<BTreeMap<String, SecretSource>> for Secrets {
    fn from(sources: BTreeMap<String, SecretSource>) -> Self {
        let values = Mutex::default();
        Secrets(Arc::new(Known { sources, values }))
    }
}

/// The ids alone.
impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.ids()).finish()
    }
}

impl Secrets {
    /// Returns the ids of all secrets.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.0.sources.keys()
    }

    /// Returns the value of the secret `id`, if it was given and its variable is set.
    pub(crate) fn value(&self, id: &str) -> Result<Option<Vec<u8>>, StepError> {
        let Some(source) = self.0.sources.get(id) else {
            return Ok(None);
        };
        // Held while reading: two steps that ask at once get what one of them read.
        let mut values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.get(id) {
            return Ok(value.clone());
        }
        let value = read(source)?;
        values.insert(id.to_owned(), value.clone());
        Ok(value)
    }

    /// Returns what hides the values of all secrets that were read so far. One that no step
    /// has asked for cannot be in the output of any.
    pub(crate) fn mask(&self) -> Mask {
        let values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        Mask::of(values.values().flatten().map(Vec::as_slice))
    }
}

fn read(source: &SecretSource) -> Result<Option<Vec<u8>>, StepError> {
    match source {
        SecretSource::Variable(name) => {
            use std::os::unix::ffi::OsStringExt;
            Ok(std::env::var_os(name).map(OsStringExt::into_vec))
        }
        SecretSource::File(path) => read_file(path).map(Some),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, StepError> {
    let failed = |source| StepError::File {
        action: "read the secret",
        path: path.to_owned(),
        source,
    };
    let mut value = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAXIMUM_BYTES + 1)
        .read_to_end(&mut value)
        .map_err(failed)?;
    if value.len() as u64 > MAXIMUM_BYTES {
        let reason = "it has more than 500 KiB: what is that large is given as a file of a context";
        return Err(failed(std::io::Error::other(reason)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(path: &Path) -> Secrets {
        let source = SecretSource::File(path.to_owned());
        BTreeMap::from([("s".to_owned(), source)]).into()
    }

    #[test]
    fn secret_is_read_once_and_shared_by_clones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        std::fs::write(&path, "one").unwrap();
        let secrets = of_file(&path);
        assert_eq!(secrets.value("s").unwrap().unwrap(), b"one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(secrets.clone().value("s").unwrap().unwrap(), b"one");
        assert_eq!(secrets.value("other").unwrap(), None);
        assert_eq!(format!("{secrets:?}"), "{\"s\"}");
    }

    #[test]
    fn secret_without_an_end_is_refused() {
        let error = of_file(Path::new("/dev/zero")).value("s").unwrap_err();
        let StepError::File { source, .. } = error else {
            panic!("{error}");
        };
        assert!(source.to_string().contains("500 KiB"), "{source}");
    }
}
