//! The cache mounts of a command: taken in one order by all, filled when they are new.

use super::content;
use super::mounts::is_placed;
use crate::worker::{BuildWorker, Product};
use crate::{StepChange, StepError};
use kiln_disk::{
    CacheMountKey, CacheMountPurpose, CacheMountSharing, CacheMountUse, Patience, WaitingForTurn,
};
use kiln_layer::copy::{self, DigestOptions, Selection};
use kiln_plan::{CacheSharing, Exec, MountKind, VertexId};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The cache mounts that a command uses, until this is dropped.
#[derive(Default)]
pub(super) struct CacheMountsInUse {
    /// The directory of each mount of the command, by its number.
    paths: BTreeMap<usize, PathBuf>,
    _uses: Vec<CacheMountUse>,
}

impl CacheMountsInUse {
    /// Returns the directory of the command's mount `number`.
    pub fn path(&self, number: usize) -> &Path {
        self.paths
            .get(&number)
            .map_or(Path::new(""), PathBuf::as_path)
    }
}

/// A cache mount that is wanted, perhaps at several places of one command.
struct Wanted<'a> {
    key: CacheMountKey,
    sharing: CacheMountSharing,
    seed: Option<(&'a Product, &'a str)>,
    numbers: Vec<usize>,
}

/// Waits until the command of `vertex` may use all its cache mounts.
///
/// Commands that use several take them in one order: none waits for one that waits for it.
pub(super) fn enter(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    exec: &Exec,
    inputs: &[Product],
) -> Result<CacheMountsInUse, StepError> {
    let mut in_use = CacheMountsInUse::default();
    for wanted in wanted(worker, exec, inputs)?.into_values() {
        let used = take(worker, vertex, &wanted)?;
        let path = used.directory(|fresh| fill(worker, &wanted, fresh))?;
        in_use.paths.extend(
            wanted
                .numbers
                .iter()
                .map(|number| (*number, path.to_owned())),
        );
        in_use._uses.push(used);
    }
    Ok(in_use)
}

/// Returns the mounts by the names of their folders.
fn wanted<'a>(
    worker: &BuildWorker<'_>,
    exec: &'a Exec,
    inputs: &'a [Product],
) -> Result<BTreeMap<String, Wanted<'a>>, StepError> {
    let mut all: BTreeMap<String, Wanted<'a>> = BTreeMap::new();
    let mut inputs = inputs.iter();
    for (number, mount) in exec.mounts.iter().enumerate() {
        let (from, source) = match &mount.kind {
            MountKind::Bind { .. } => {
                inputs.next();
                continue;
            }
            MountKind::Cache { from, source, .. } => (from, source),
            _ => continue,
        };
        let seed = from.and_then(|_| inputs.next());
        let seed = seed.map(|product| (product, source.as_str()));
        let Some((key, sharing)) = identity(worker, &mount.kind, seed)? else {
            continue;
        };
        let wanted = all.entry(key.folder_name()).or_insert(Wanted {
            key,
            sharing,
            seed,
            numbers: Vec::new(),
        });
        wanted.sharing = wanted.sharing.max(sharing);
        wanted.numbers.push(number);
    }
    Ok(all)
}

/// Mode and owner are part of a mount's identity, and so is what it is filled with: else a
/// command would find what another one, with other wishes, left there.
fn identity(
    worker: &BuildWorker<'_>,
    kind: &MountKind,
    seed: Option<(&Product, &str)>,
) -> Result<Option<(CacheMountKey, CacheMountSharing)>, StepError> {
    let MountKind::Cache {
        id,
        sharing,
        mode,
        uid,
        gid,
        ..
    } = kind
    else {
        return Ok(None);
    };
    let seed = match seed {
        Some((product, source)) => {
            let files = worker.files(product)?;
            let selection = Selection::of(source);
            let options = DigestOptions::default();
            Some(copy::content_digest(files.source(), &selection, &options)?)
        }
        None => None,
    };
    let key = CacheMountKey {
        id: id.clone(),
        mode: *mode,
        uid: *uid,
        gid: *gid,
        seed,
        purpose: CacheMountPurpose::Steps,
    };
    let sharing = match sharing {
        // What is put in its place is there for one.
        CacheSharing::Shared if is_placed(worker)? => CacheMountSharing::Locked,
        CacheSharing::Shared => CacheMountSharing::Shared,
        CacheSharing::Private => CacheMountSharing::Private,
        CacheSharing::Locked => CacheMountSharing::Locked,
    };
    Ok(Some((key, sharing)))
}

fn take(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    wanted: &Wanted<'_>,
) -> Result<CacheMountUse, StepError> {
    let user = format!("build {}", worker.request.build_id);
    let mut told = None;
    let used =
        worker
            .store
            .cache_mounts()
            .enter(&wanted.key, wanted.sharing, &user, &mut |waiting| {
                let note = waiting_note(&wanted.key.id, waiting);
                if told.as_ref() != Some(&note) {
                    worker.tell(vertex, StepChange::Note(note.clone()));
                    told = Some(note);
                }
                match worker.cancellation.is_cancelled() {
                    true => Patience::GiveUp,
                    false => Patience::Wait,
                }
            });
    used.map_err(|error| match error {
        kiln_disk::Error::GaveUpWaiting { .. } => StepError::Cancelled,
        error => StepError::Store(error),
    })
}

fn waiting_note(id: &str, waiting: &WaitingForTurn) -> String {
    let process = match waiting.process_id {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    };
    match waiting.user.as_str() {
        "" => format!("waiting for cache mount `{id}`, which {process} uses"),
        user => format!("waiting for cache mount `{id}`, which {process} uses ({user})"),
    }
}

fn fill(worker: &BuildWorker<'_>, wanted: &Wanted<'_>, fresh: &Path) -> Result<(), StepError> {
    if let Some((product, source)) = wanted.seed {
        let files = worker.files(product)?;
        content::copy_directory(files.source(), source, fresh, worker.whiteouts)?;
    }
    let CacheMountKey { mode, uid, gid, .. } = wanted.key;
    std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(mode))
        .and_then(|()| chown(fresh, Some(uid), Some(gid)))
        .map_err(|source| StepError::File {
            action: "set the owner of the cache mount",
            path: fresh.to_owned(),
            source,
        })
}
