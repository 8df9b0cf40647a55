//! `WORKDIR PATH`.

use super::Line;
use crate::diagnostic::Diagnostic;
use crate::syntax::Word;

/// The working directory of what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir {
    /// The rest of the line.
    pub path: Word,
}

impl Workdir {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        Ok(Self {
            path: line.rest("a path")?,
        })
    }
}
