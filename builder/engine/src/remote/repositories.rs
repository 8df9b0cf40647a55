//! The bare repositories of remotes, kept as cache mounts that no Dockerfile can name.

use super::{Fetcher, process_name};
use crate::{StepChange, StepError};
use kiln_disk::{CacheMountKey, CacheMountSharing, CacheMountUse};
use kiln_fetch::FetchError;
use kiln_fetch::git::{Repositories, Repository};
use kiln_oci::Digest;
use std::path::Path;

impl Repositories for Fetcher<'_> {
    fn enter(&self, name: &str) -> Result<Repository, FetchError> {
        let key = CacheMountKey {
            id: format!("git repository {name}"),
            mode: 0o700,
            uid: 0,
            gid: 0,
            // A step could plant a configuration in a directory that it may mount: no seed of a
            // cache mount of a Dockerfile has this digest.
            seed: Some(Digest::sha256("kiln: bare repositories of git remotes")),
        };
        let used = self.take(&key).map_err(|error| match error {
            StepError::Cancelled => FetchError::Cancelled,
            error => FetchError::Kept(Box::new(error)),
        })?;
        let path = used.directory(|_: &Path| Ok::<(), kiln_disk::Error>(()));
        let path = path.map_err(|error| FetchError::Kept(Box::new(error)))?;
        Ok(Repository {
            path: path.to_owned(),
            guard: Box::new(used),
        })
    }
}

impl Fetcher<'_> {
    fn take(&self, key: &CacheMountKey) -> Result<CacheMountUse, StepError> {
        let user = format!("build {}", self.request.build_id);
        let mut told = false;
        let used = self.store.cache_mounts().enter(
            key,
            CacheMountSharing::Locked,
            &user,
            &mut |waiting| {
                if !std::mem::replace(&mut told, true) {
                    let process = process_name(waiting.process_id);
                    let note = format!("waiting for {process}, which uses the {}", key.id);
                    self.tell(StepChange::Note(note));
                }
                self.patience()
            },
        );
        used.map_err(|error| match error {
            kiln_disk::Error::GaveUpWaiting { .. } => StepError::Cancelled,
            error => StepError::Store(error),
        })
    }
}
