//! Layers of several results stacked on each other.

use crate::VertexId;

/// The layers of every input, one stack on top of the other. `COPY --link` is a merge of the
/// stage so far and of a copy into nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Merge {
    /// Inputs, bottom first.
    pub layers: Vec<VertexId>,
}
