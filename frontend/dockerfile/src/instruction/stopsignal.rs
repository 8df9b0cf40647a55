//! `STOPSIGNAL SIGNAL`.

use super::Line;
use crate::diagnostic::Diagnostic;
use crate::syntax::Word;

/// The signal that stops a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopsignal {
    /// A name or a number.
    pub signal: Word,
}

impl Stopsignal {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.ignore_flags();
        Ok(Self {
            signal: line.rest("a signal")?,
        })
    }
}
