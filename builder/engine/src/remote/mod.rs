//! What lies elsewhere: commits that names mean, files that may have changed, and what is shown
//! to the hosts that have them.

mod access;
mod commits;
mod files;
mod repositories;

pub(crate) use commits::pin;

use crate::{BuildRequest, Event, StepChange, StepError};
use kiln_disk::{LayerId, Patience, Store};
use kiln_fetch::FetchError;
use kiln_fetch::git::{Git, Resolved, Wanted};
use kiln_oci::Digest;
use kiln_plan::{HttpSource, VertexId};
use kiln_sandbox::Cancellation;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a remote of git may say nothing at all.
const REMOTE_IDLE: Duration = Duration::from_secs(120);

/// What was found out about remotes. Builders that share it agree on what names mean, and ask
/// each remote once.
#[derive(Clone, Default)]
pub struct Remotes(Arc<Known>);

impl std::fmt::Debug for Remotes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remotes").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Known {
    /// What names meant.
    commits: Mutex<HashMap<(String, Wanted), Slot<Resolved>>>,
    /// Files that were fetched, or found to be as they were.
    files: Mutex<HashMap<HttpSource, Slot<Vec<LayerId>>>>,
}

/// What one finds out and others wait for.
type Slot<T> = Arc<Mutex<Option<T>>>;

/// Fetches for one step.
pub(crate) struct Fetcher<'a> {
    pub request: &'a BuildRequest,
    pub store: &'a Store,
    pub client: &'a kiln_registry::Client,
    pub remotes: &'a Remotes,
    pub cancellation: &'a Cancellation,
    pub observer: &'a (dyn Fn(Event) + Sync),
    pub vertex: VertexId,
}

impl Fetcher<'_> {
    fn tell(&self, change: StepChange) {
        let vertex = self.vertex;
        (self.observer)(Event::Step { vertex, change });
    }

    fn patience(&self) -> Patience {
        match self.cancellation.is_cancelled() {
            true => Patience::GiveUp,
            false => Patience::Wait,
        }
    }

    /// Does `work` with git, as far as the request lets it show who asks at `remote`.
    fn with_git<T>(
        &self,
        remote: &str,
        scratch: &Path,
        work: impl FnOnce(&Git<'_>) -> Result<T, FetchError>,
    ) -> Result<T, StepError> {
        let access = access::of_git(self.request, self.store, self.client, remote)?;
        let git = Git {
            access: &access,
            scratch: scratch.to_owned(),
            idle: REMOTE_IDLE,
            is_cancelled: &|| self.cancellation.is_cancelled(),
            tell: &|line| self.tell(StepChange::Note(line.to_owned())),
        };
        work(&git).map_err(StepError::from)
    }

    fn key(source: &HttpSource, digest: &Digest) -> Digest {
        let pinned = HttpSource {
            checksum: Some(digest.clone()),
            ..source.clone()
        };
        let key = kiln_plan::definition_key(&kiln_plan::Op::Http(pinned), &[]);
        key.digest().clone()
    }
}

/// Returns what to call the process that another waits for.
fn process_name(process: Option<u32>) -> String {
    match process {
        Some(process) if process == std::process::id() => "another step".to_owned(),
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    }
}
