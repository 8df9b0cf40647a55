//! `EXPOSE PORT[/PROTOCOL]…`.

use crate::syntax::Word;

/// Ports that a container listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// The ports, in order; expansion may turn one word into several.
    pub ports: Vec<Word>,
}
