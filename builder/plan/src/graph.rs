//! The graph: vertices in topological order, equal ones joined.

use crate::Op;
use kiln_oci::Platform;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Names a vertex of one plan: its place in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VertexId(u32);

impl VertexId {
    /// Returns the place of the vertex in its plan's list.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the id of the vertex at `index`. For tables over a whole plan and for tests.
    pub fn from_index(index: usize) -> Self {
        VertexId(u32::try_from(index).expect("a plan has fewer than 2^32 vertices"))
    }
}

/// Where in a source file a vertex comes from: for messages only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLocation {
    /// File name as the user gave it.
    pub file: String,
    /// First line, counted from 1.
    pub first_line: usize,
    /// Last line, counted from 1.
    pub last_line: usize,
}

/// What people are shown of a vertex, and how it is to be treated. Not part of its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VertexMetadata {
    /// Name for progress output: `[build 2/5] RUN make`.
    pub name: String,
    /// Where it comes from.
    pub location: Option<SourceLocation>,
    /// Whether recorded results are disregarded (`--no-cache`); new ones are recorded still.
    pub ignore_cache: bool,
    /// Platform that it is for, in progress output of builds for several.
    pub platform: Option<Platform>,
}

/// One operation of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// What people are shown.
    pub metadata: VertexMetadata,
}

/// The graph, in topological order: inputs of a vertex come before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    vertices: Vec<Vertex>,
}

impl Plan {
    /// Returns the vertex named `id`.
    ///
    /// Panics when `id` is of another, longer plan.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.index()]
    }

    /// Returns all vertices with their ids, inputs before those that need them.
    pub fn vertices(&self) -> impl Iterator<Item = (VertexId, &Vertex)> {
        self.vertices
            .iter()
            .enumerate()
            .map(|(index, vertex)| (VertexId::from_index(index), vertex))
    }

    /// Returns the plan with other operations in the place of some: what they were is known
    /// better now. Their inputs must be the same.
    pub fn with_operations(&self, operations: impl IntoIterator<Item = (VertexId, Op)>) -> Plan {
        let mut plan = self.clone();
        for (id, op) in operations {
            let vertex = &mut plan.vertices[id.index()];
            assert_eq!(vertex.op.inputs(), op.inputs(), "inputs stay");
            vertex.op = op;
        }
        plan
    }

    /// Returns how many vertices there are.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Returns whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }
}

/// Builds a [`Plan`], bottom up.
#[derive(Debug, Default)]
pub struct PlanBuilder {
    plan: Plan,
    known: HashMap<Op, VertexId>,
}

impl PlanBuilder {
    /// Returns a builder of an empty plan.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the vertex that does `op`: the one that is there already, else a new one.
    ///
    /// A vertex that is there keeps its name; it disregards recorded results when any of those
    /// who added it want that. Panics when an input of `op` is not in the plan yet.
    pub fn add(&mut self, op: Op, metadata: VertexMetadata) -> VertexId {
        let next = VertexId::from_index(self.plan.vertices.len());
        let inputs_come_first = op.inputs().iter().all(|input| *input < next);
        assert!(inputs_come_first, "inputs come first");
        match self.known.entry(op) {
            Entry::Occupied(entry) => {
                let id = *entry.get();
                self.plan.vertices[id.index()].metadata.ignore_cache |= metadata.ignore_cache;
                id
            }
            Entry::Vacant(entry) => {
                let op = entry.key().clone();
                self.plan.vertices.push(Vertex { op, metadata });
                *entry.insert(next)
            }
        }
    }

    /// Returns the finished plan.
    pub fn finish(self) -> Plan {
        self.plan
    }
}
