//! The rungs of the ladder: how a step can be run, by what the machine allows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How steps are run, best first.
///
/// Dockerfiles give the same images on the first three, and the same files on the fourth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rung {
    /// By root of the machine, in kernel namespaces.
    Root,
    /// By root of a user namespace that has a range of ids.
    Ranges,
    /// By root of a user namespace in which only one id exists: who owns what is kept in
    /// records beside the files.
    SingleId,
    /// By root of a container that may neither make namespaces nor mount: in a directory
    /// that is the root of the step, without any wall around it but the container's.
    Chroot,
    /// Not at all.
    Impossible,
}

impl Rung {
    /// Returns whether steps get namespaces and mounts of their own.
    pub fn has_namespaces(self) -> bool {
        matches!(self, Rung::Root | Rung::Ranges | Rung::SingleId)
    }

    /// Returns whether steps run below a user namespace: devices cannot be made, and
    /// overlay marks are `user.*` attributes.
    pub fn is_user_namespace(self) -> bool {
        matches!(self, Rung::Ranges | Rung::SingleId)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Rung::Root => "root, in namespaces",
            Rung::Ranges => "user namespace with a range of ids",
            Rung::SingleId => "user namespace with one id",
            Rung::Chroot => "changed root, without namespaces",
            Rung::Impossible => "none",
        })
    }
}

/// What a better rung lacks here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRung {
    /// The rung.
    pub rung: Rung,
    /// What is missing for it.
    pub missing: String,
    /// How to get it.
    pub remedy: String,
}
