//! Files of the web: fetched into layers, and found again by their content.
//!
//! A file is recorded like the result of a step, under the key of its content. What the server
//! said of it last time lies beside, so that the next build need only ask whether it changed.

use super::{Fetcher, access, process_name};
use crate::settle::{Entry, Settler};
use crate::{StepChange, StepError};
use kiln_disk::{KeyLock, LayerId, Record};
use kiln_fetch::http::{self, HttpAnswer, HttpFile, HttpRequest, MAXIMUM_BYTES, Validators};
use kiln_oci::Digest;
use kiln_plan::{HttpSource, remote};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// What is known of the file at an address.
#[derive(Serialize, Deserialize)]
struct Known {
    digest: Digest,
    validators: Validators,
}

impl Fetcher<'_> {
    /// Returns the layer with the file that `source` is now, without fetching it again when
    /// the server says that it is the same. The server is asked once in a build.
    pub fn current_file(
        &self,
        source: &HttpSource,
        settler: &Settler<'_>,
    ) -> Result<Vec<LayerId>, StepError> {
        let slot = {
            let files = self.remotes.0.files.lock();
            let mut files = files.unwrap_or_else(PoisonError::into_inner);
            Arc::clone(files.entry(source.clone()).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stack) = slot.as_ref() {
            return Ok(stack.clone());
        }
        let stack = self.ask_for_file(source, settler)?;
        Ok(slot.insert(stack).clone())
    }

    fn ask_for_file(
        &self,
        source: &HttpSource,
        settler: &Settler<'_>,
    ) -> Result<Vec<LayerId>, StepError> {
        let lock = self.lock(source)?;
        let path = self.store.index_path(&name_of(source))?;
        let known = known(&path);
        let record = match &known {
            Some(known) => self
                .store
                .records()
                .get(&Self::key(source, &known.digest))?,
            None => None,
        };
        let validators = known
            .filter(|_| record.is_some())
            .map(|known| known.validators);
        let validators = validators.filter(|validators| !validators.is_empty());
        match self.download(source, validators.as_ref(), None)? {
            Download::Unchanged => Ok(record.map(|record| record.result).unwrap_or_default()),
            Download::New { file, layer } => {
                let key = Self::key(source, &file.digest);
                remember(&path, &file, |bytes| self.store.replace_file(&path, bytes));
                if let Some(record) = self.store.records().get(&key)? {
                    return Ok(record.result);
                }
                let result = vec![layer];
                settler.remember(self.entry(source, key, &result, lock));
                Ok(result)
            }
        }
    }

    /// Returns the layer with the file of `source`, which must have the digest `checksum`.
    pub fn pinned_file(
        &self,
        source: &HttpSource,
        checksum: &Digest,
    ) -> Result<Vec<LayerId>, StepError> {
        match self.download(source, None, Some(checksum))? {
            Download::New { layer, .. } => Ok(vec![layer]),
            Download::Unchanged => Ok(Vec::new()),
        }
    }

    fn lock(&self, source: &HttpSource) -> Result<KeyLock, StepError> {
        let name = format!("fetch {}", name_of(source));
        let mut told = false;
        let lock = self.store.lock_key(&name, |waiting| {
            if !std::mem::replace(&mut told, true) {
                let process = process_name(waiting.holder_process_id);
                let note = format!("waiting for {process}, which fetches the same file");
                self.tell(StepChange::Note(note));
            }
            self.patience()
        });
        lock.map_err(|error| match error {
            kiln_disk::Error::GaveUpWaiting { .. } => StepError::Cancelled,
            error => StepError::Store(error),
        })
    }

    fn download(
        &self,
        source: &HttpSource,
        validators: Option<&Validators>,
        checksum: Option<&Digest>,
    ) -> Result<Download, StepError> {
        let authorization = access::of_file(self.request, &source.url)?;
        let shown = remote::redacted(&source.url);
        let layer = self.store.layers().begin()?;
        let path = layer.upper().join(&source.filename);
        let request = HttpRequest {
            url: &source.url,
            shown: &shown,
            authorization: authorization.as_deref(),
            known: validators,
            checksum,
            maximum_bytes: MAXIMUM_BYTES,
        };
        let answer = http::fetch(self.client, &request, &path, &|done_bytes, total_bytes| {
            self.tell(StepChange::Progress {
                part: source.filename.clone(),
                done_bytes,
                total_bytes,
            });
        });
        let HttpAnswer::Fetched(file) = answer? else {
            return Ok(Download::Unchanged);
        };
        let mode = std::fs::Permissions::from_mode(source.mode);
        std::fs::set_permissions(&path, mode).map_err(|error| StepError::File {
            action: "set the permissions of",
            path: path.clone(),
            source: error,
        })?;
        let layer = layer.commit(LayerId::random())?;
        Ok(Download::New { file, layer })
    }

    fn entry(&self, source: &HttpSource, key: Digest, result: &[LayerId], lock: KeyLock) -> Entry {
        Entry {
            keys: vec![key.clone()],
            record: Record {
                result: result.to_vec(),
                canonical_key: key,
                created_seconds: jiff::Timestamp::now().as_second(),
                description: remote::redacted(&source.url).into_owned(),
                build_id: self.request.build_id.clone(),
            },
            note: None,
            _lock: Some(lock),
        }
    }
}

enum Download {
    /// The file is the known one.
    Unchanged,
    /// Another one, in a layer of its own.
    New { file: HttpFile, layer: LayerId },
}

/// Returns what names the file of `source` among those of all builds.
fn name_of(source: &HttpSource) -> String {
    let (url, mode) = (remote::anonymous(&source.url), source.mode);
    format!("file {url}\n{}\n{mode:o}", source.filename)
}

fn known(path: &Path) -> Option<Known> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Keeps what was learnt of a file. If that fails, it is fetched again next time.
fn remember<E>(path: &Path, file: &HttpFile, write: impl FnOnce(&[u8]) -> Result<(), E>) {
    let known = Known {
        digest: file.digest.clone(),
        validators: file.validators.clone(),
    };
    let written = serde_json::to_vec(&known).ok();
    if written.is_none_or(|bytes| write(&bytes).is_err()) {
        let _ = std::fs::remove_file(path);
    }
}
