//! `RUN [flags] COMMAND`.

use super::{Command, Line, Mount};
use crate::diagnostic::Diagnostic;
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

impl Run {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(
            &["mount", "network", "security", "device"],
            &["mount", "device"],
        );
        let network = line.flag_choice("network", &NETWORKS);
        let security = line.flag_choice("security", &SECURITIES);
        let devices = line.flag_words("device");
        let mounts = Mount::parse_all(&mut line);
        let command = Command::parse(&line)?;
        if command == Command::Exec(Vec::new()) {
            return Err(line.missing("a command"));
        }
        Ok(Self {
            mounts,
            network,
            security,
            devices,
            command,
        })
    }
}

const NETWORKS: [(&str, RunNetwork); 3] = [
    ("default", RunNetwork::Default),
    ("none", RunNetwork::None),
    ("host", RunNetwork::Host),
];

const SECURITIES: [(&str, RunSecurity); 2] = [
    ("sandbox", RunSecurity::Sandbox),
    ("insecure", RunSecurity::Insecure),
];
