//! `VOLUME PATH…` or `VOLUME ["PATH", …]`.

use super::Line;
use crate::diagnostic::{Code, Diagnostic};
use crate::syntax::Word;

/// Paths that a container keeps outside its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The paths, in order.
    pub paths: Vec<Word>,
}

impl Volume {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        let paths = line.json()?.unwrap_or_else(|| line.words());
        if paths.is_empty() {
            return Err(line.missing("a path"));
        }
        if let Some(empty) = paths.iter().find(|path| path.text.trim().is_empty()) {
            let message = "a volume's path can't be empty";
            return Err(Diagnostic::error(
                Code::INVALID_ARGUMENT,
                empty.span,
                message,
            ));
        }
        Ok(Self { paths })
    }
}
