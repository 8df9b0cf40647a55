//! `FROM [--platform=P] IMAGE|STAGE|scratch [AS NAME]`.

use crate::syntax::Word;

/// The start of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromBase {
    /// `--platform`.
    pub platform: Option<Word>,
    /// An image, an earlier stage, or `scratch`.
    pub image: Word,
    /// The name after `AS`, as written; names compare in lower case.
    pub name: Option<Word>,
    /// The word `AS`, as written.
    pub as_keyword: Option<Word>,
}
