//! `USER USER[:GROUP]`.

use crate::syntax::Word;

/// The user of what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The rest of the line.
    pub user: Word,
}
