//! `WORKDIR PATH`.

use crate::syntax::Word;

/// The working directory of what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir {
    /// The rest of the line.
    pub path: Word,
}
