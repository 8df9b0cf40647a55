//! What the machine can do, found once at run time.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::confinement::SecurityModules;
use crate::rung::{NextRung, Rung};

/// What the machine can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// How steps are run here.
    pub rung: Rung,
    /// What the next better rung lacks; nothing on the best one.
    pub next_rung: Option<NextRung>,
    /// Where control groups can be made.
    pub control_groups: ControlGroups,
    /// Whether this process and all that it runs are in a group with limits, below which other
    /// groups are made.
    pub is_limited: bool,
    /// Whether a unified hierarchy decides by program which devices open.
    pub device_programs: bool,
    /// What names of this process' control groups begin with.
    pub control_group_prefix: String,
    /// Capabilities that this process can hand on, as a bit set.
    pub capabilities: u64,
    /// The highest capability number that the kernel knows.
    pub last_capability: u32,
    /// Which networks belong to the user namespace of commands.
    pub owned_networks: OwnedNetworks,
    /// Whether group 5, the usual owner of terminals, exists for this process.
    pub terminal_group_mapped: bool,
    /// Whether the kernel filters system calls.
    pub filters_system_calls: bool,
    /// Further walls of the kernel.
    pub security_modules: SecurityModules,
    /// The processor.
    pub architecture: ProcessorArchitecture,
    /// Release of the kernel, such as `6.12.1`.
    pub kernel_release: String,
}

/// Where control groups can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlGroups {
    /// One hierarchy per controller.
    PerController {
        /// Controller and the writable directory of this process' own group.
        controllers: Vec<(String, PathBuf)>,
    },
    /// One hierarchy for all controllers.
    Unified {
        /// Directory that groups are made in.
        directory: PathBuf,
        /// Controllers that can be used there.
        controllers: Vec<String>,
    },
    /// None that this process may write to.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Networks that belong to the user namespace of a command. Only those can it be shown a `/sys` of
/// its own for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OwnedNetworks {
    /// Those that the command gets by itself.
    Own,
    /// Those that the builder makes, too.
    Made,
    /// The host's too.
    All,
}

/// A processor family, as far as system call numbers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessorArchitecture {
    /// 64-bit x86; it also runs 32-bit x86 programs.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// Little-endian 64-bit PowerPC.
    Powerpc64Le,
    /// 64-bit s390; it also runs 31-bit programs.
    S390x,
    /// Any other.
    Other,
}
