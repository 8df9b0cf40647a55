//! `USER USER[:GROUP]`.

use super::Line;
use crate::diagnostic::Diagnostic;
use crate::syntax::Word;

/// The user of what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The rest of the line.
    pub user: Word,
}

impl User {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        Ok(Self {
            user: line.rest("a user")?,
        })
    }
}
