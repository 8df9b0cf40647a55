//! `ARG NAME[=DEFAULT]…`.

use crate::syntax::Word;

/// Build arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The arguments, in order.
    pub arguments: Vec<Argument>,
}

/// One build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: Word,
    /// Its default, unexpanded; empty for `NAME=`.
    pub default: Option<Word>,
}
