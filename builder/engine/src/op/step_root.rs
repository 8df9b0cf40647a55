//! The root that a command runs in: mounted over its stack, or a plain copy of that.
//!
//! A copy that a command has run in is kept: the next command mostly goes on from there.

use crate::StepError;
use crate::worker::BuildWorker;
use kiln_disk::{ActiveLayer, LayerId};
use kiln_layer::plain::PlainRoot;
use kiln_layer::tree::{Tree, WhiteoutFormat};
use kiln_sandbox::runspec::{Root, Rung};
use std::sync::{Mutex, PoisonError};

/// The root of one command.
pub(super) enum StepRoot {
    /// An overlay, made and gone with the run.
    Mounted,
    /// A plain directory.
    Plain(Box<KeptRoot>),
}

/// A plain directory and what it is a copy of.
pub(crate) struct KeptRoot {
    stack: Vec<LayerId>,
    root: PlainRoot,
    /// Where it lies; removed with it.
    place: ActiveLayer,
}

/// Plain directories that nobody uses now, the latest last.
pub(crate) type PlainRoots = Mutex<Vec<KeptRoot>>;

/// Copies that are kept: each may be as large as an image.
const KEPT: usize = 2;

impl StepRoot {
    /// Returns a root for a command over `stack`.
    pub fn prepare(worker: &BuildWorker<'_>, stack: &[LayerId]) -> Result<Self, StepError> {
        if has_mounted_root(worker)? {
            return Ok(StepRoot::Mounted);
        }
        let kept = take(&worker.plain_roots, stack);
        let mut kept = match kept {
            Some(kept) => kept,
            None => KeptRoot::copy(worker, stack)?,
        };
        for layer in &stack[kept.stack.len()..] {
            for path in worker.paths(std::slice::from_ref(layer))? {
                kept.root.apply(&path)?;
            }
        }
        kept.stack = stack.to_vec();
        Ok(StepRoot::Plain(Box::new(kept)))
    }

    /// Returns what the sandbox is told of it; `layer` takes the changes.
    pub fn described(
        &self,
        worker: &BuildWorker<'_>,
        stack: &[LayerId],
        layer: &ActiveLayer,
    ) -> Result<Root, StepError> {
        Ok(match self {
            StepRoot::Mounted => Root::Overlay {
                lowers: worker.paths_with_content(stack)?,
                upper: layer.upper(),
                work: layer.work(),
                user_xattrs: worker.whiteouts != WhiteoutFormat::Trusted,
            },
            StepRoot::Plain(kept) => Root::Directory {
                path: kept.root.directory().to_owned(),
                aside: kept.place.work(),
            },
        })
    }

    /// Commits `layer` with what the command changed.
    pub fn commit(
        self,
        worker: &BuildWorker<'_>,
        stack: &[LayerId],
        layer: ActiveLayer,
    ) -> Result<LayerId, StepError> {
        let StepRoot::Plain(mut kept) = self else {
            return Ok(layer.commit_mounted(LayerId::random())?);
        };
        let paths = worker.paths(stack)?;
        let mut upper = Tree::open_for_write(&paths, &layer.upper(), worker.whiteouts)?;
        kept.root.changes_into(&worker.tree(stack)?, &mut upper)?;
        let id = layer.commit(LayerId::random())?;
        kept.stack.push(id.clone());
        keep(&worker.plain_roots, *kept);
        Ok(id)
    }
}

/// Whether commands run over mounted layers.
pub(super) fn has_mounted_root(worker: &BuildWorker<'_>) -> Result<bool, StepError> {
    Ok(worker.sandbox()?.host().rung != Rung::Chroot && worker.whiteouts.is_mountable())
}

impl KeptRoot {
    fn copy(worker: &BuildWorker<'_>, stack: &[LayerId]) -> Result<Self, StepError> {
        let place = worker.store.layers().begin()?;
        Ok(KeptRoot {
            stack: stack.to_vec(),
            root: PlainRoot::copy_of(&worker.tree(stack)?, &place.upper(), worker.whiteouts)?,
            place,
        })
    }
}

/// Takes the copy of the longest part of `stack`. One of the base alone is worth little less
/// than a new one, and may be what another branch of the build goes on from.
fn take(roots: &PlainRoots, stack: &[LayerId]) -> Option<KeptRoot> {
    let mut roots = roots.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = roots
        .iter()
        .enumerate()
        .filter(|(_, kept)| stack.starts_with(&kept.stack));
    let (number, _) = fitting.max_by_key(|(_, kept)| kept.stack.len())?;
    Some(roots.remove(number))
}

fn keep(roots: &PlainRoots, kept: KeptRoot) {
    let mut roots = roots.lock().unwrap_or_else(PoisonError::into_inner);
    roots.push(kept);
    let surplus = roots.len().saturating_sub(KEPT);
    roots.drain(..surplus);
}
