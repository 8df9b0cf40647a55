//! What the solver must know of a graph, and a plan seen that way.

use kiln_plan::{CacheKey, InputKey, InputUse, Plan, VertexId};

/// A graph of vertices, inputs before those that need them.
pub trait Graph: Sync {
    /// Returns the inputs of `vertex`, each as often as it is named.
    fn inputs(&self, vertex: VertexId) -> Vec<VertexId>;

    /// Returns whether `vertex` reads selected files of its input number `input`, so that
    /// their content is what counts. Else it builds upon the whole of it.
    fn reads_content(&self, vertex: VertexId, input: usize) -> bool;

    /// Returns whether `vertex` has no key of its own, because it stands for something outside
    /// that may change. The content that a reader selects of it stands in for its key.
    fn is_keyless(&self, vertex: VertexId) -> bool;

    /// Returns whether recorded results of `vertex` are to be disregarded. What builds upon
    /// its new result runs again too.
    fn ignores_cache(&self, vertex: VertexId) -> bool;

    /// Returns the cache key of `vertex` over what stands for its inputs, in their order.
    fn key(&self, vertex: VertexId, inputs: &[InputKey]) -> CacheKey;
}

impl Graph for Plan {
    fn inputs(&self, vertex: VertexId) -> Vec<VertexId> {
        self.vertex(vertex).op.inputs()
    }

    fn reads_content(&self, vertex: VertexId, input: usize) -> bool {
        matches!(
            self.vertex(vertex).op.reads(input),
            InputUse::Content { .. }
        )
    }

    fn is_keyless(&self, vertex: VertexId) -> bool {
        !self.vertex(vertex).op.is_pinned()
    }

    fn ignores_cache(&self, vertex: VertexId) -> bool {
        let vertex = self.vertex(vertex);
        vertex.metadata.ignore_cache && !vertex.op.is_repeatable()
    }

    fn key(&self, vertex: VertexId, inputs: &[InputKey]) -> CacheKey {
        kiln_plan::content_key(&self.vertex(vertex).op, inputs)
    }
}
