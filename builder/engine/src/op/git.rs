//! A checkout of a git repository: one layer.

use super::on_top;
use crate::StepError;
use crate::worker::{BuildWorker, Product};
use kiln_disk::LayerId;
use kiln_plan::{GitSource, VertexId};

/// Checks out a commit: what a name means was found out before.
pub(super) fn execute(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    git: &GitSource,
) -> Result<Product, StepError> {
    let layer = worker.store.layers().begin()?;
    worker.fetcher(vertex).check_out(git, &layer)?;
    Ok(on_top(&[], layer.commit(LayerId::random())?))
}
