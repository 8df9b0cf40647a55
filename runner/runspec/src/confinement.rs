//! What holds a command besides namespaces, mounts and capabilities.

use serde::{Deserialize, Serialize};

/// What holds a command besides namespaces, mounts and capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Which system calls it may make.
    pub system_calls: SystemCalls,
    /// Whether programs like `sudo` give it no rights.
    pub no_new_privileges: bool,
    /// Its AppArmor profile.
    pub apparmor: Profile,
    /// Its SELinux label.
    pub selinux: Profile,
    /// What Landlock adds.
    pub landlock: Landlock,
    /// Which users of the host its users are.
    pub users: Users,
}

/// Which system calls a command may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemCalls {
    /// Those of the default profile.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// What a program of [`crate::filter::compile`] says.
    Filter(Vec<u8>),
}

/// A profile or label of the host's security module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// The host's usual one for containers, where there is one.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// This one; its absence is an error.
    Named(String),
}

/// What Landlock, where the kernel has it, adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Landlock {
    /// On the host's network, its abstract sockets are out of reach. Costs nothing.
    #[default]
    Scopes,
    /// Besides, no file that is not below the step's root can be opened, however it is come by.
    Root,
    /// Nothing.
    Off,
}

/// Which users of the host the users of a command are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Users {
    /// Those of the same numbers.
    #[default]
    Host,
    /// Users of the command from 0 are those of the host from `start`. Layers and other files
    /// are mapped back: they have the numbers that the command sees.
    Own {
        /// The host's number for root.
        start: u32,
        /// How many there are.
        count: u32,
    },
}

/// What security modules the host's kernel runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityModules {
    /// The AppArmor profile for containers, if AppArmor runs and has one: empty if it has none.
    pub apparmor: Option<String>,
    /// Whether SELinux runs.
    pub selinux: bool,
    /// Version of Landlock; 0 where there is none.
    pub landlock: u32,
}

/// What Landlock is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRules {
    /// Whether files outside the root are out of reach.
    pub root_alone: bool,
    /// Whether abstract sockets and processes outside are out of reach.
    pub scopes: bool,
    /// Version of Landlock.
    pub version: u32,
}
