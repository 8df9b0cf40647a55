//! `CMD COMMAND`.

use super::{Command, Line};
use crate::diagnostic::Diagnostic;

/// What a container runs: CMD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmd {
    /// The command; an empty JSON array resets it.
    pub command: Command,
}

impl Cmd {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        let command = Command::parse(&line)?;
        Ok(Self { command })
    }
}
