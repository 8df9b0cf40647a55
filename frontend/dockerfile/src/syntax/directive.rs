//! Parser directives: the comments `# key=value` at the top of a Dockerfile.

use super::{Span, Word};

/// The character that escapes a line end or a character of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// `\`, unless the file says otherwise.
    #[default]
    Backslash,
    /// A backtick, by `# escape=`.
    Backtick,
}

impl Escape {
    /// Returns the character itself.
    pub fn character(self) -> char {
        match self {
            Self::Backslash => '\\',
            Self::Backtick => '`',
        }
    }
}

/// What the directives at the top of a file say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// The whole value of `# syntax=`: an image, then perhaps words for it.
    pub syntax: Option<Word>,
    /// `# escape=`.
    pub escape: Escape,
    /// `# check=`.
    pub check: Option<Check>,
}

/// The value of `# check=`: which lint rules apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// Rules that are skipped; `all` stands alone for every rule.
    pub skip: Vec<String>,
    /// Whether a warning fails the build.
    pub error: bool,
    /// Experimental rules that are wanted; `all` stands alone for every one.
    pub experimental: Vec<String>,
    /// Where the value stands.
    pub span: Span,
}

/// A comment line, directives included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The text after `#`, trimmed.
    pub text: String,
    /// The comment from its `#` to the end of the line.
    pub span: Span,
    /// The line, from 1.
    pub line: usize,
}
