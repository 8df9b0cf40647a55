//! Words of an instruction, as written.

use super::Span;

/// A word of an instruction and where it stands.
///
/// The text is unexpanded: variables, quotes and escapes are still in it, continuations are
/// not. In a JSON form it is the value of the string; in a flag, quotes are already removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text, unexpanded.
    pub text: String,
    /// The bytes it came from.
    pub span: Span,
}

impl Word {
    /// Returns the word `text` that stands at `span`.
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Self {
            text: text.into(),
            span,
        }
    }
}
