//! `STOPSIGNAL SIGNAL`.

use crate::syntax::Word;

/// The signal that stops a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopsignal {
    /// A name or a number.
    pub signal: Word,
}
