//! `MAINTAINER NAME`, deprecated.

use super::Line;
use crate::diagnostic::Diagnostic;
use crate::syntax::Word;

/// The image's author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// The rest of the line.
    pub name: Word,
}

impl Maintainer {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        Ok(Self {
            name: line.rest("a name")?,
        })
    }
}
