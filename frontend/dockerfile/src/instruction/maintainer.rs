//! `MAINTAINER NAME`, deprecated.

use crate::syntax::Word;

/// The image's author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// The rest of the line.
    pub name: Word,
}
