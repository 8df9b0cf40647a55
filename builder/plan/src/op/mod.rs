//! The operations of a plan. Each is plain data; what it means is said on its fields.

mod exec;
mod file;
mod merge;
mod source;

pub use exec::{CacheSharing, Device, Exec, Mount, MountKind, NetworkMode, SecurityMode};
pub use file::{Copy, FileAction, FileOp, ModeChange, Owner, Unpack};
pub use merge::Merge;
pub use source::{GitSource, GitTimes, HttpSource, ImageSource, LocalSource};

use crate::VertexId;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The root file system of an image.
    Image(ImageSource),
    /// Files of a directory on this machine.
    Local(LocalSource),
    /// One file fetched by HTTP or HTTPS.
    Http(HttpSource),
    /// A checkout of a git repository.
    Git(GitSource),
    /// A command run in a sandbox.
    Exec(Exec),
    /// Files copied or made.
    File(FileOp),
    /// Layers of several results stacked on each other.
    Merge(Merge),
}

impl Op {
    /// Returns the vertices this operation needs, in a fixed order, each as often as it is named.
    pub fn inputs(&self) -> Vec<VertexId> {
        match self {
            Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => Vec::new(),
            Op::Exec(exec) => exec.inputs(),
            Op::File(file) => file.inputs(),
            Op::Merge(merge) => merge.layers.clone(),
        }
    }
}
