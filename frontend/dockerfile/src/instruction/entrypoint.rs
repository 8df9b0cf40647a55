//! `ENTRYPOINT COMMAND`.

use super::Command;

/// What a container runs: ENTRYPOINT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrypoint {
    /// The command; an empty JSON array resets it.
    pub command: Command,
}
