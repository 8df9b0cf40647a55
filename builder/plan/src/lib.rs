//! The content-addressed graph that every frontend compiles to.
//!
//! A [`Plan`] is a list of vertices in topological order; a vertex is an [`Op`] whose inputs
//! are earlier vertices. Equal operations over equal inputs are one vertex. The plan knows
//! nothing of Dockerfile syntax, of caching policy, of disks, or of who executes it.

mod facts;
mod graph;
pub mod key;
mod op;
mod reads;
pub mod remote;
mod text;

pub use facts::{Fact, facts};
pub use key::{CacheKey, InputKey, content_key, definition_key};
pub use reads::{InputUse, Selector};

pub use graph::{Plan, PlanBuilder, SourceLocation, Vertex, VertexId, VertexMetadata};
pub use op::{
    CacheSharing, Copy, Device, Exec, FileAction, FileOp, GitSource, GitTimes, HttpSource,
    ImageSource, LocalSource, Merge, ModeChange, Mount, MountKind, NetworkMode, Op, Owner,
    SecurityMode, Unpack,
};
