//! Carries out a run specification: namespaces, mounts, cgroups, seccomp, exec.
//!
//! [`Sandbox::run`] starts this very program again in a hidden mode, which `main` must
//! answer first of all with [`init::run_init`]; that process sets the sandbox up, step
//! by step, and reports back. [`user_namespace::enter_if_unprivileged`] comes second.

mod cancellation;
mod device_program;
pub mod emulation;
mod error;
pub mod host;
pub mod init;
mod network;
mod placement;
mod protocol;
mod sandbox;
mod syscall;
pub mod user_namespace;

pub use cancellation::Cancellation;
pub use error::{SandboxError, StepFailure};
pub use kiln_runspec as runspec;
pub use network::PrivateNetwork;
pub use protocol::Usage;
pub use sandbox::{CallerTerminal, Outcome, Sandbox, Status, Stream};
