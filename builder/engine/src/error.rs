//! Why a build failed.

use crate::cache::CacheError;
use crate::{CdiError, EmulationError};
use kiln_fetch::FetchError;
use kiln_oci::Reference;
use kiln_plan::VertexId;
use std::path::PathBuf;
use thiserror::Error;

/// Why a build failed.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Steps failed; the first is what ended the others.
    #[error("{}", first_of(.0))]
    Steps(Vec<(VertexId, StepError)>),
    /// The build was cancelled.
    #[error("the build was cancelled")]
    Cancelled,
    /// The store refused something.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
    /// An image could not be made or handed over.
    #[error(transparent)]
    Transfer(#[from] kiln_transfer::Error),
    /// The sandbox cannot be used on this machine.
    #[error("cannot set up the sandbox")]
    Sandbox(#[source] kiln_sandbox::SandboxError),
    /// A file asked for by the caller could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A layer of a remote cache could not be brought here.
    #[error("cannot bring a layer of the remote cache")]
    CacheLayer(#[source] kiln_transfer::Error),
    /// The results could not be recorded in a remote cache.
    #[error("cannot write the cache {cache}")]
    CacheExport {
        /// The cache as the user wrote it.
        cache: String,
        /// Why.
        #[source]
        source: Box<CacheError>,
    },
    /// An output does not fit the build.
    #[error("output {output}: {reason}")]
    Output {
        /// The output as the user wrote it.
        output: String,
        /// What does not fit.
        reason: String,
    },
}

impl BuildError {
    /// Whether the build failed because files changed while they were read, and for nothing
    /// else.
    pub(crate) fn is_change(&self) -> bool {
        let BuildError::Steps(steps) = self else {
            return false;
        };
        let mut told = steps
            .iter()
            .filter(|(_, error)| !matches!(error, StepError::Cancelled));
        told.clone().next().is_some() && told.all(|(_, error)| error.is_change())
    }
}

impl StepError {
    /// Whether a file changed while it was read.
    pub(crate) fn is_change(&self) -> bool {
        matches!(
            self,
            StepError::Copy(kiln_layer::copy::CopyError::Changed { .. })
        )
    }
}

fn first_of(errors: &[(VertexId, StepError)]) -> String {
    errors
        .first()
        .map(|(_, error)| error.to_string())
        .unwrap_or_default()
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum StepError {
    /// The command ended with an exit code.
    #[error("the command ended with exit code {code}{}", remark_of(remark))]
    Exit {
        /// The exit code.
        code: i32,
        /// What to know beside it: what limit was hit.
        remark: Option<String>,
    },
    /// The command was ended by a signal.
    #[error("the command was killed by {}{}", signal_name(*signal), remark_of(remark))]
    Signal {
        /// The signal.
        signal: i32,
        /// What to know beside it: what limit was hit.
        remark: Option<String>,
    },
    /// It was cancelled because something else failed or the user asked for it.
    #[error("cancelled")]
    Cancelled,
    /// The sandbox could not be set up, or the program could not be started.
    #[error(transparent)]
    Sandbox(kiln_sandbox::SandboxError),
    /// The user of the step is not known in its root.
    #[error("cannot run as user `{user}`")]
    User {
        /// As written.
        user: String,
        /// Why.
        #[source]
        source: kiln_layer::users::UserError,
    },
    /// The owner that files are to have is not known in the root that they are written to.
    #[error("cannot give files to `{owner}`")]
    Owner {
        /// User and group as written.
        owner: String,
        /// Why.
        #[source]
        source: kiln_layer::users::UserError,
    },
    /// Files could not be copied.
    #[error(transparent)]
    Copy(#[from] kiln_layer::copy::CopyError),
    /// A file tree could not be read or written.
    #[error(transparent)]
    Tree(#[from] kiln_layer::tree::TreeError),
    /// The plain directory that a command runs in failed.
    #[error(transparent)]
    Plain(#[from] kiln_layer::plain::PlainError),
    /// An archive could not be unpacked.
    #[error("cannot unpack {archive}")]
    Unpack {
        /// The archive as named.
        archive: String,
        /// Why.
        #[source]
        source: kiln_layer::archive::UnpackError,
    },
    /// The store refused something.
    #[error(transparent)]
    Store(#[from] kiln_disk::Error),
    /// An image could not be pulled.
    #[error("cannot pull {}", reference.familiar())]
    Pull {
        /// The image.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: Box<kiln_transfer::pull::PullError>,
    },
    /// A layer of a remote cache could not be brought here.
    #[error("cannot bring a layer of the remote cache")]
    CacheLayer(#[source] kiln_transfer::Error),
    /// What lies elsewhere could not be fetched.
    #[error(transparent)]
    Fetch(Box<FetchError>),
    /// Something was asked for that does not exist.
    #[error("{what} `{name}` was not given")]
    NotGiven {
        /// What kind of thing: `build context`, `secret`, `ssh agent`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// What it takes to enter a step again is not known.
    #[error("step cannot be entered: {0}")]
    Scene(String),
    /// The files of a step that somebody wants to enter are no longer in the store.
    #[error("the files of the step are no longer in the store")]
    FilesGone,
    /// Something that this version cannot do.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// This machine cannot run the programs of the step.
    #[error(transparent)]
    Emulation(Box<EmulationError>),
    /// A device of the machine could not be given.
    #[error(transparent)]
    Device(#[from] CdiError),
    /// The host has no address in the network of a command.
    #[error("`--add-host {name}:host-gateway`: the step's network does not lead to the host")]
    NoHostGateway {
        /// The name that was to mean the host.
        name: String,
    },
    /// The caller did not allow it.
    #[error("{what} was not allowed")]
    NotAllowed {
        /// What.
        what: &'static str,
        /// The flag that allows it.
        flag: &'static str,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<EmulationError> for StepError {
    fn from(error: EmulationError) -> Self {
        StepError::Emulation(Box::new(error))
    }
}

impl From<FetchError> for StepError {
    fn from(error: FetchError) -> Self {
        match error.is_cancelled() {
            true => StepError::Cancelled,
            false => StepError::Fetch(Box::new(error)),
        }
    }
}

/// Returns a signal with the name that people know it by.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

fn remark_of(remark: &Option<String>) -> String {
    remark
        .as_ref()
        .map(|remark| format!(": {remark}"))
        .unwrap_or_default()
}
