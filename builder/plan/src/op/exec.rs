//! A command run in a sandbox. It produces one layer: what it changed in its root.

use crate::VertexId;
use kiln_oci::Platform;
use serde::{Deserialize, Serialize};

/// A command run in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exec {
    /// Root file system; empty when absent.
    pub root: Option<VertexId>,
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// Environment in order, names unique.
    pub environment: Vec<(String, String)>,
    /// Proxy variables: part of the environment, not of the key.
    pub proxy_environment: Vec<(String, String)>,
    /// Absolute working directory, made when it is missing.
    pub working_directory: String,
    /// `USER` as written (`name`, `uid`, `name:group`, `uid:gid`); root when empty.
    pub user: String,
    /// Mounts in order; a later one lies over an earlier one.
    pub mounts: Vec<Mount>,
    /// Network the command sees.
    pub network: NetworkMode,
    /// How far the sandbox holds.
    pub security: SecurityMode,
    /// Host name inside.
    pub hostname: String,
    /// Lines of `/etc/hosts` as (name, address); addresses are not part of the key.
    pub extra_hosts: Vec<(String, String)>,
    /// Resource limits of `--ulimit`: (name, soft, hard).
    pub ulimits: Vec<(String, u64, u64)>,
    /// Size of `/dev/shm` in bytes; 64 MiB when absent.
    pub shm_size_bytes: Option<u64>,
    /// Devices of the machine that the command sees.
    pub devices: Vec<Device>,
    /// What its programs are for, so that they can be emulated elsewhere. Not part of the key:
    /// the root says what is run.
    #[serde(default)]
    pub platform: Option<Platform>,
}

/// A device that a command asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// Its name: `vendor/class=device`, `vendor/class=*`, `vendor/class` or `class`.
    pub name: String,
    /// Whether its absence is an error.
    pub required: bool,
}

impl Exec {
    pub(super) fn inputs(&self) -> Vec<VertexId> {
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { from, .. } => Some(*from),
            MountKind::Cache { from, .. } => *from,
            MountKind::Tmpfs { .. }
            | MountKind::Secret { .. }
            | MountKind::Ssh { .. }
            | MountKind::File { .. } => None,
        });
        self.root.into_iter().chain(mounted).collect()
    }

    /// Returns the command with other inputs, in the order of its own: for another plan. A mount
    /// whose input is absent there is left out.
    ///
    /// Panics when there are fewer than it has.
    pub fn on_inputs(&self, inputs: &[Option<VertexId>]) -> Exec {
        let mut exec = self.clone();
        let mut inputs = inputs.iter().copied();
        let mut next = || inputs.next().expect("as many inputs");
        exec.root = exec.root.and_then(|_| next());
        exec.mounts.retain_mut(|mount| match &mut mount.kind {
            MountKind::Bind { from, .. } => match next() {
                Some(input) => {
                    *from = input;
                    true
                }
                None => false,
            },
            MountKind::Cache { from, .. } => {
                *from = from.and_then(|_| next());
                true
            }
            _ => true,
        });
        exec
    }
}

/// One mount of a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the root. Empty for a secret that is only a variable.
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MountKind {
    /// Files of another result; writes, where allowed, are discarded.
    Bind {
        /// The result.
        from: VertexId,
        /// Path below its root, cleaned, without leading `/`; `.` for all.
        source: String,
        /// Whether the command may write.
        writable: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Identity of the directory.
        id: String,
        /// What happens when two commands use it at once.
        sharing: CacheSharing,
        /// Result that a new directory is filled from.
        from: Option<VertexId>,
        /// Path below that result's root.
        source: String,
        /// Permission bits of a new directory.
        mode: u32,
        /// Owner of a new directory.
        uid: u32,
        /// Group of a new directory.
        gid: u32,
        /// Whether the command may only read.
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Limit in bytes, if any.
        size_bytes: Option<u64>,
    },
    /// A secret that the caller provides; its value is never part of the key.
    Secret {
        /// Name under which the caller provides it.
        id: String,
        /// Whether its absence is an error.
        required: bool,
        /// Permission bits of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
        /// Environment variable that holds the value.
        environment: Option<String>,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Name under which the caller provides it.
        id: String,
        /// Whether its absence is an error.
        required: bool,
        /// Permission bits of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
    /// A read-only file of given content. (here-documents with `#!`)
    File {
        /// The content.
        data: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
}

/// What happens when two commands use one cache mount at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CacheSharing {
    /// They share it.
    Shared,
    /// The second gets a directory of its own.
    Private,
    /// The second waits.
    Locked,
}

/// Network that a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// What the executor is set up to give; the outside is reachable.
    Default,
    /// Loopback only.
    None,
    /// The network of the host.
    Host,
}

/// How far the sandbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SecurityMode {
    /// As always.
    Sandbox,
    /// All capabilities, no filters; the caller must have allowed it.
    Insecure,
}
