//! `CMD COMMAND`.

use super::Command;

/// What a container runs: CMD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmd {
    /// The command; an empty JSON array resets it.
    pub command: Command,
}
