//! `RUN [flags] COMMAND`.

use super::{Command, Mount};
use crate::syntax::Word;

/// A step that runs a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, in order.
    pub mounts: Vec<Mount>,
    /// `--network`; `None` if not given.
    pub network: Option<RunNetwork>,
    /// `--security`; `None` if not given.
    pub security: Option<RunSecurity>,
    /// `--device`, in order.
    pub devices: Vec<Word>,
    /// What is run.
    pub command: Command,
}

/// The network of a RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunNetwork {
    /// What the build says.
    Default,
    /// Loopback alone.
    None,
    /// The host's.
    Host,
}

/// How strictly a RUN is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSecurity {
    /// In the sandbox.
    Sandbox,
    /// With all capabilities and devices.
    Insecure,
}
