//! What can fail around a run; how a command itself ends is an [`crate::Outcome`].

use std::io;
use std::path::PathBuf;

use kiln_runspec::SpecError;
use thiserror::Error;

/// Why a command could not be run.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The specification cannot be carried out.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The sandbox's first process could not be started.
    #[error("cannot start the sandbox process")]
    Start {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Talking to the sandbox's first process failed.
    #[error("lost contact with the sandbox process")]
    Contact {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no terminal for the command.
    #[error("cannot connect the command with a terminal")]
    Terminal {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The sandbox's processes ended without a word.
    #[error("the sandbox process ended without telling how the command did")]
    InitEnded,
    /// A step of the set-up failed.
    #[error("cannot set up the sandbox: {0}")]
    Setup(StepFailure),
    /// The program of the command could not be started.
    #[error("cannot execute `{program}`")]
    Exec {
        /// The program as asked for.
        program: String,
        /// Why; `NotFound` when it is nowhere in `PATH`.
        #[source]
        source: io::Error,
    },
    /// A control group could not be prepared.
    #[error("cannot {action} control group {}", path.display())]
    ControlGroup {
        /// What was tried.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A private network could not be made.
    #[error("{what}")]
    Network {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are no private networks on this host.
    #[error("there are no private networks here: {reason}")]
    NoPrivateNetwork {
        /// Why.
        reason: String,
    },
    /// The run was cancelled; nothing of it is left running.
    #[error("cancelled")]
    Cancelled,
}

/// The step of a set-up that failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StepFailure {
    /// What was tried, such as `mount proc on /proc`.
    pub action: String,
    /// The error number of the kernel.
    pub errno: i32,
}

impl std::fmt::Display for StepFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = io::Error::from_raw_os_error(self.errno);
        write!(formatter, "cannot {}: {reason}", self.action)
    }
}
