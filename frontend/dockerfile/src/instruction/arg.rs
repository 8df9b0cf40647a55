//! `ARG NAME[=DEFAULT]…`.

use super::Line;
use crate::diagnostic::{Code, Diagnostic};
use crate::syntax::{Fragment, Word};

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

impl Arg {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.ignore_flags();
        let words = line.arguments.quoted_words(line.escape);
        if words.is_empty() {
            return Err(line.missing("a name"));
        }
        let arguments = words.into_iter().map(Argument::parse);
        Ok(Self {
            arguments: line.right_ones(arguments),
        })
    }
}

impl Argument {
    fn parse(word: Fragment<'_>) -> Result<Self, Diagnostic> {
        let (name, default) = match word.cut('=') {
            Some((name, default)) => (name, Some(default.word())),
            None => (word, None),
        };
        if name.is_empty() {
            let message = "a build argument's name can't be empty";
            return Err(Diagnostic::error(
                Code::INVALID_ARGUMENT,
                word.span(),
                message,
            ));
        }
        Ok(Self {
            name: name.word(),
            default,
        })
    }
}
