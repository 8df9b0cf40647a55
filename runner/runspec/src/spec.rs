//! What a caller asks for: a root, a command, and what the command may see.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::confinement::Confinement;
use crate::emulation::Registration;

/// A command and everything it can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The file system the command sees as `/`.
    pub root: Root,
    /// Program and arguments; the program is looked up in the environment's `PATH`.
    pub arguments: Vec<String>,
    /// Environment as `NAME=value`, in order.
    pub environment: Vec<String>,
    /// Absolute directory inside the root; made, owned by the user, when missing.
    pub working_directory: String,
    /// Who the command runs as.
    pub user: ResolvedUser,
    /// Host name inside.
    pub hostname: String,
    /// Content of `/etc/hosts`.
    pub hosts: String,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Further mounts; a parent is mounted before what lies below it.
    pub mounts: Vec<MountSpec>,
    /// What network is reachable.
    pub network: NetworkSpec,
    /// How far the sandbox holds.
    pub security: SecurityMode,
    /// Limits on the whole sandbox, enforced by control groups.
    pub limits: Limits,
    /// Limits on each process.
    pub resource_limits: Vec<ResourceLimit>,
    /// Size of `/dev/shm`; 64 MiB when absent.
    pub shm_size_bytes: Option<u64>,
    /// Name of the control group, `[A-Za-z0-9_.-]+`, unique among live runs.
    pub cgroup_name: String,
    /// What else holds the command.
    pub confinement: Confinement,
    /// Emulators that the sandbox brings along, for programs of other processors. They take a
    /// user namespace: where the builder is root of the machine, the command gets one in which
    /// all users are those of the machine.
    pub emulators: Vec<Registration>,
}

/// The file system that a command sees as `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// Layer directories under a directory that takes the changes.
    Overlay {
        /// Layer directories, bottom first; may be empty.
        lowers: Vec<PathBuf>,
        /// Takes the changes.
        upper: PathBuf,
        /// Empty directory on the file system of `upper`, for the kernel's own use.
        work: PathBuf,
        /// Whether the layers are marked with `user.overlay.*` attributes.
        user_xattrs: bool,
    },
    /// A plain directory that the command changes, for layers that cannot be mounted.
    /// On hosts on which nothing can be mounted at all, what mounts show is put into it for the
    /// time of the run: the sources of [`MountKind::Bind`] and [`MountKind::Socket`] are moved
    /// there and back, so they must lie on its file system, and nobody else may use them
    /// meanwhile.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Empty directory on the same file system: what mounts hide is kept there, where
        /// nothing can be mounted.
        aside: PathBuf,
    },
}

/// A user as numbers: names were looked up in the image by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids; the primary one is added when it is not listed.
    pub groups: Vec<u32>,
}

/// One mount below the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Absolute path inside the root; links in it are resolved inside the root.
    pub target: String,
    /// What is mounted there.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Trusted path on the host.
        source: PathBuf,
        /// Path below `source`, resolved inside it whatever links it holds; empty for all.
        subpath: String,
        /// Whether writing is refused.
        read_only: bool,
    },
    /// Layer directories, or one plain directory of the host, whose content never changes.
    Overlay {
        /// Directories, bottom first.
        lowers: Vec<PathBuf>,
        /// Path below their union, resolved inside it; empty for all.
        subpath: String,
        /// Takes writes that are thrown away afterwards; read-only when absent.
        scratch: Option<OverlayScratch>,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Limit in bytes, if any.
        size_bytes: Option<u64>,
    },
    /// A file in memory that holds a secret; it never touches a disk.
    SecretFile {
        /// The secret.
        data: SecretData,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A read-only file of given content.
    File {
        /// The content.
        data: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// A socket of the host.
    Socket {
        /// Path on the host.
        source: PathBuf,
    },
    /// A device of the host, which the command can open.
    Device {
        /// Path on the host.
        source: PathBuf,
    },
}

/// Directories of an overlay whose writes are thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayScratch {
    /// Empty directory that takes the writes; the caller removes it.
    pub upper: PathBuf,
    /// Empty directory on the same file system.
    pub work: PathBuf,
}

/// Bytes that must not show up in messages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretData(pub Vec<u8>);

impl fmt::Debug for SecretData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretData(..)")
    }
}

/// What network a command reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkSpec {
    /// The network of the host.
    Host,
    /// A loopback interface and nothing else.
    None,
    /// A network that leads out and not to the host's loopback; the caller makes it.
    Private,
}

/// How far the sandbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityMode {
    /// Docker's default capabilities, filter and masks.
    Sandbox,
    /// All capabilities of the caller, no filter, no masks.
    Insecure,
}

/// Limits on all processes of a sandbox together; absent is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap in bytes.
    pub memory_and_swap_bytes: Option<u64>,
    /// Processor time per period, in microseconds.
    pub cpu_quota_microseconds: Option<u64>,
    /// Length of the period, in microseconds; 100 ms when absent.
    pub cpu_period_microseconds: Option<u64>,
    /// Weight against others, on Docker's scale where 1024 is normal.
    pub cpu_shares: Option<u64>,
    /// Processors that may be used, such as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// Weight of reading and writing against others, 10 to 1000 on Docker's scale.
    pub io_weight: Option<u64>,
    /// Limits on devices.
    pub io: Vec<IoLimit>,
}

/// A limit on what is read from or written to one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimit {
    /// Numbers of the device, major and minor.
    pub device: (u32, u32),
    /// What is limited.
    pub kind: IoKind,
    /// How much of it in a second, bytes or operations.
    pub per_second: u64,
}

/// What is limited on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoKind {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
}

impl Limits {
    /// Returns whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Limits::default()
    }
}

/// A limit on each process, as `setrlimit` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Docker's name: `nofile`, `nproc`, `core`, …
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}
