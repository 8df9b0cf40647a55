//! `EXPOSE PORT[/PROTOCOL]…`.

use super::Line;
use crate::diagnostic::Diagnostic;
use crate::syntax::Word;

/// Ports that a container listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// The ports, in order; expansion may turn one word into several.
    pub ports: Vec<Word>,
}

impl Expose {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        match line.words() {
            ports if ports.is_empty() => Err(line.missing("a port")),
            ports => Ok(Self { ports }),
        }
    }
}
