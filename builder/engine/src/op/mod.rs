//! What each operation does: one module each.

mod adding;
mod agent;
mod cache_mounts;
pub(crate) mod content;
mod device;
mod earlier;
pub(crate) mod empty_layers;
mod enter;
mod exec;
mod file;
mod git;
pub(crate) mod http;
pub(crate) mod image;
mod merge;
mod mounts;
pub(crate) mod network;
pub(crate) mod step_root;

pub(crate) use enter::enter;

use crate::StepError;
use crate::worker::{BuildWorker, Product};
use kiln_disk::LayerId;
use kiln_plan::{Op, VertexId};

/// Executes `op` over its inputs' results.
pub(crate) fn execute(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    op: &Op,
    inputs: &[Product],
) -> Result<Product, StepError> {
    match op {
        Op::Image(image) => image::execute(worker, vertex, image),
        Op::Exec(exec) => exec::execute(worker, vertex, exec, inputs),
        Op::File(file) => file::execute(worker, vertex, file, inputs),
        Op::Merge(_) => merge::execute(inputs),
        Op::Local(local) => Ok(Product::Directory(local.name.clone())),
        Op::Http(http) => http::execute(worker, vertex, http),
        Op::Git(git) => git::execute(worker, vertex, git),
    }
}

/// Returns the stack of `product`; only stacks can be built upon.
fn stack_of(product: Option<&Product>) -> Result<&[LayerId], StepError> {
    match product {
        None => Ok(&[]),
        Some(Product::Stack(stack)) => Ok(stack),
        Some(Product::Directory(name)) => Err(StepError::Unsupported(format!(
            "building upon the directory `{name}`"
        ))),
    }
}

/// Returns `stack` with `layer` on top.
fn on_top(stack: &[LayerId], layer: LayerId) -> Product {
    Product::Stack(stack.iter().cloned().chain([layer]).collect())
}
