//! The bare repositories of remotes, kept as cache mounts that no Dockerfile can name.

use super::{Fetcher, process_name};
use crate::{StepChange, StepError};
use kiln_disk::{CacheMountKey, CacheMountPurpose, CacheMountSharing, CacheMountUse};
use kiln_fetch::FetchError;
use kiln_fetch::git::{Repositories, Repository};
use std::path::Path;

impl Repositories for Fetcher<'_> {
    fn enter(&self, name: &str) -> Result<Repository, FetchError> {
        let key = CacheMountKey {
            id: name.to_owned(),
            mode: 0o700,
            uid: 0,
            gid: 0,
            seed: None,
            // A step could plant a configuration in a directory that it may mount.
            purpose: CacheMountPurpose::GitRepository,
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
                    let note = format!(
                        "waiting for {process}, which uses the git repository {}",
                        key.id
                    );
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
