//! One step of setting up a sandbox, in the kernel's words.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::confinement::LandlockRules;
use crate::emulation::Registration;
use crate::spec::{OverlayScratch, ResolvedUser, ResourceLimit, SecretData};

/// One step of setting up a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetupStep {
    /// Get new namespaces; a new process namespace begins with the next fork.
    Unshare {
        /// Which.
        namespaces: Vec<Namespace>,
    },
    /// Go on as process 1 of the new process namespace; the caller waits for it.
    ForkInit,
    /// Enter control groups that the caller made.
    JoinControlGroups {
        /// Their directories.
        directories: Vec<PathBuf>,
    },
    /// Open control groups while that is allowed, to be entered later.
    OpenControlGroups {
        /// Their directories.
        directories: Vec<PathBuf>,
    },
    /// Enter the control groups that were opened.
    EnterOpenedControlGroups,
    /// Get a new control group namespace, rooted at the groups just entered.
    UnshareControlGroups,
    /// Keep mounts from travelling to and from the host.
    IsolateMounts,
    /// Enter the network that the caller handed over.
    JoinNetwork,
    /// Show the network that the caller handed over as the file `network` of a file system in
    /// memory.
    ShowNetwork {
        /// Directory that it hides, in this mount namespace only.
        over: PathBuf,
    },
    /// Show the kernel's devices as they are in this network, in this mount namespace only.
    RenewSys,
    /// Bring the loopback interface up.
    BringLoopbackUp,
    /// Let users take low ports and send pings in their own network.
    OpenNetwork,
    /// Make a user namespace, to be entered later.
    MakeUserNamespace {
        /// The host's number for root.
        start: u32,
        /// How many users and groups there are.
        count: u32,
    },
    /// Mount, attached nowhere and mapped to the user namespace, what it has no right to mount.
    Prepare {
        /// The root.
        root: RootMount,
        /// How it is mounted.
        attributes: MountAttributes,
        /// As for [`SetupStep::MountRoot`].
        stubs: Vec<Stub>,
        /// The host's number for root of the user namespace.
        owner: u32,
        /// What [`MountSource::Prepared`] counts.
        mounts: Vec<(MountSource, MountAttributes)>,
    },
    /// Become root of the user namespace.
    EnterUserNamespace,
    /// Attach the root that was prepared, not yet as `/`.
    AttachRoot,
    /// Register emulators for this user namespace, as long as process 1 lives.
    RegisterEmulators {
        /// The registrations.
        registrations: Vec<Registration>,
    },
    /// Set the host name.
    SetHostname {
        /// The name.
        hostname: String,
    },
    /// Mount a small file system in memory for what is handed in as bytes.
    MountScratch {
        /// Empty directory that it hides, in this mount namespace only.
        over: PathBuf,
    },
    /// Mount the root file system, not yet as `/`.
    MountRoot {
        /// What is mounted.
        root: RootMount,
        /// How it is mounted.
        attributes: MountAttributes,
        /// Mount points, so that they never show up as changes: offered by a layer below all
        /// others, or made where they are missing and removed after the command.
        stubs: Vec<Stub>,
    },
    /// Mount something below the root.
    Mount {
        /// Where.
        target: Target,
        /// What.
        source: MountSource,
        /// How.
        attributes: MountAttributes,
    },
    /// Hide a file or directory of the kernel's file systems, where it exists.
    Mask {
        /// Path below the root.
        path: String,
    },
    /// Make a path of the kernel's file systems read-only, where it exists.
    MakeReadOnly {
        /// Path below the root.
        path: String,
    },
    /// Make the working directory, where it is missing, and enter it.
    EnterWorkingDirectory {
        /// Absolute path inside the root.
        path: String,
        /// Owner of what is made.
        uid: u32,
        /// Group of what is made.
        gid: u32,
    },
    /// Make the root `/` and let go of the host's file systems.
    PivotRoot,
    /// Inherit the orphans of this process, where no process namespace holds them: they end
    /// with the command.
    BecomeSubreaper,
    /// Make a directory `/`, where mounts cannot.
    ChangeRoot {
        /// The directory.
        directory: PathBuf,
    },
    /// Tell the command that it is this user, where there are no users but root.
    PretendUser {
        /// The user.
        user: ResolvedUser,
    },
    /// Go on as the command's own process; process 1 reaps.
    ForkCommand,
    /// Start a session, so that no terminal of the caller is reached.
    StartSession,
    /// Make the terminal that is standard output that of the session, and read from it.
    TakeTerminal,
    /// Give the output pipes to the user, so that `/dev/stdout` can be opened.
    OwnOutput {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Limit the process.
    LimitResources {
        /// The limits.
        limits: Vec<ResourceLimit>,
    },
    /// Have programs give no rights.
    ForbidNewPrivileges,
    /// Have the program run under an AppArmor profile.
    SetAppArmorProfile {
        /// Its name.
        profile: String,
    },
    /// Have the program run with an SELinux label.
    SetSelinuxLabel {
        /// The label.
        label: String,
    },
    /// Put Landlock's wall around the command.
    Landlock {
        /// What it is told.
        rules: LandlockRules,
    },
    /// Load the filter of system calls. While still privileged: without
    /// `no_new_privs` the kernel asks for `CAP_SYS_ADMIN`.
    FilterSystemCalls,
    /// Give up capabilities for good and empty the inheritable and ambient sets.
    LimitCapabilities {
        /// What stays in the bounding set, as a bit set.
        bounding: u64,
    },
    /// Become the user; another user than root loses the effective capabilities.
    BecomeUser {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// All supplementary groups, the primary one among them.
        groups: Vec<u32>,
    },
    /// Set the permitted and effective capabilities.
    SetCapabilities {
        /// Both sets, as a bit set.
        effective: u64,
    },
    /// Make sure that the working directory lies inside the root.
    CheckWorkingDirectory,
    /// Let every descriptor but the standard ones close on exec, and exec.
    Exec {
        /// Program and arguments.
        arguments: Vec<String>,
        /// Environment as `NAME=value`.
        environment: Vec<String>,
    },
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// Mounts.
    Mount,
    /// Processes.
    Process,
    /// Host name.
    HostName,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Network.
    Network,
}

/// An overlay mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayMount {
    /// Directories, bottom first.
    pub lowers: Vec<PathBuf>,
    /// Where changes go; read-only when absent.
    pub scratch: Option<OverlayScratch>,
    /// Whether marks are `user.overlay.*` attributes.
    pub user_xattrs: bool,
}

/// What becomes the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootMount {
    /// An overlay of layers.
    Overlay(OverlayMount),
    /// A directory of the host as it is.
    Directory(PathBuf),
}

/// A mount point in the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stub {
    /// A directory; relative to the root.
    Directory(String),
    /// A directory for a file system in memory, whose root everybody may then write to.
    OpenDirectory(String),
    /// A file; relative to the root.
    File(String),
    /// A directory or file, as the source is.
    Like {
        /// Path relative to the root.
        path: String,
        /// Path on the host.
        source: PathBuf,
        /// Path below the source, resolved inside it; empty for all.
        subpath: String,
    },
}

/// Where something is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A path whose last component must be a real directory, not a link: what the
    /// kernel shows there is trusted later.
    RealDirectory(String),
    /// A path whose links are resolved inside the root; made when missing and
    /// removed again after the command.
    Resolved(String),
}

impl Target {
    /// Returns the path, as it was asked for.
    pub fn path(&self) -> &str {
        match self {
            Target::RealDirectory(path) | Target::Resolved(path) => path,
        }
    }
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// Processes of the new process namespace.
    Proc,
    /// A fresh view of the kernel's devices.
    Sysfs,
    /// The host's `/sys` with all below it.
    HostSys,
    /// The unified control group hierarchy.
    ControlGroups,
    /// POSIX message queues.
    MessageQueues,
    /// Pseudo terminals.
    Terminals {
        /// Owner group of new terminals, if it exists.
        group: Option<u32>,
    },
    /// A file system in memory.
    Tmpfs {
        /// Limit in bytes.
        size_bytes: Option<u64>,
        /// Permission bits of its root; those of the directory it is mounted on when absent.
        mode: Option<u32>,
    },
    /// A file system in memory that holds the standard devices and links.
    Devices {
        /// Where device nodes come from.
        nodes: DeviceSource,
    },
    /// What [`SetupStep::Prepare`] mounted, by its place in the list.
    Prepared(usize),
    /// A file or directory of the host.
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// Path below it, resolved inside it; empty for all.
        subpath: String,
    },
    /// Layer directories.
    Overlay {
        /// The layers.
        overlay: OverlayMount,
        /// Path below their union, resolved inside it; empty for all.
        subpath: String,
    },
    /// A file in memory.
    File {
        /// The content; it may be a secret.
        data: SecretData,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl fmt::Debug for MountSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountSource::Bind { source, subpath } => {
                write!(formatter, "Bind({source:?}, {subpath:?})")
            }
            MountSource::Overlay { overlay, subpath } => {
                write!(formatter, "Overlay({overlay:?}, {subpath:?})")
            }
            MountSource::Tmpfs { size_bytes, mode } => {
                let mode = mode.map_or("as below".to_owned(), |mode| format!("{mode:o}"));
                write!(formatter, "Tmpfs({size_bytes:?}, {mode})")
            }
            MountSource::Terminals { group } => write!(formatter, "Terminals({group:?})"),
            MountSource::Devices { nodes } => write!(formatter, "Devices({nodes:?})"),
            MountSource::File { mode, uid, gid, .. } => {
                write!(formatter, "File({mode:o}, {uid}:{gid})")
            }
            MountSource::Prepared(number) => write!(formatter, "Prepared({number})"),
            MountSource::Proc => formatter.write_str("Proc"),
            MountSource::Sysfs => formatter.write_str("Sysfs"),
            MountSource::HostSys => formatter.write_str("HostSys"),
            MountSource::ControlGroups => formatter.write_str("ControlGroups"),
            MountSource::MessageQueues => formatter.write_str("MessageQueues"),
        }
    }
}

/// Where device nodes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceSource {
    /// They are made.
    Made,
    /// The host's are handed on, after their numbers were checked.
    Host,
}

/// Attributes of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountAttributes {
    /// Writing is refused.
    pub read_only: bool,
    /// Set-user-id bits have no effect.
    pub no_set_user_id: bool,
    /// Device nodes cannot be opened.
    pub no_devices: bool,
    /// Programs cannot be run.
    pub no_exec: bool,
}

impl MountAttributes {
    /// Nothing special.
    pub const PLAIN: Self = Self {
        read_only: false,
        no_set_user_id: false,
        no_devices: false,
        no_exec: false,
    };
    /// No set-user-id, no devices, no programs.
    pub const DATA: Self = Self {
        no_set_user_id: true,
        no_devices: true,
        no_exec: true,
        ..Self::PLAIN
    };
    /// As [`MountAttributes::DATA`], and read-only.
    pub const READ_ONLY_DATA: Self = Self {
        read_only: true,
        ..Self::DATA
    };

    /// Returns these attributes with writing refused or not.
    pub const fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// Returns these attributes with device nodes refused or not.
    pub const fn no_devices(self, no_devices: bool) -> Self {
        Self { no_devices, ..self }
    }
}
