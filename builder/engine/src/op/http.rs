//! A file of the web: one layer with it alone.

use crate::StepError;
use crate::worker::{BuildWorker, Product};
use kiln_plan::{HttpSource, VertexId};

pub(crate) fn execute(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    http: &HttpSource,
) -> Result<Product, StepError> {
    let fetcher = worker.fetcher(vertex);
    let stack = match &http.checksum {
        Some(checksum) => fetcher.pinned_file(http, checksum)?,
        None => fetcher.current_file(http, worker.settler)?,
    };
    Ok(Product::Stack(stack))
}
