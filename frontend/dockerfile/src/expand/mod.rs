//! Words with their variables, quotes and escapes resolved.
//!
//! The syntax is the shell's in small: `$x`, `${x}`, `${x:-word}` and its kin, prefix and
//! suffix removal, replacement, single and double quotes, one escape character.

mod pattern;
mod scan;

use scan::Scanner;
use std::ops::Range;
use thiserror::Error;

/// Where the values of variables come from.
pub trait Variables {
    /// Returns the value of `name`; `None` when it is unset.
    fn value(&self, name: &str) -> Option<&str>;
}

impl Variables for [(&str, &str)] {
    fn value(&self, name: &str) -> Option<&str> {
        let found = self.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

/// How deeply substitutions may lie in each other: a bound for the stack, not for people.
const MAX_DEPTH: usize = 100;

/// How much longer than written a word may get: no command can be started with a longer
/// variable. Source: Linux, `MAX_ARG_STRLEN`.
const MAX_GROWTH_BYTES: usize = 128 << 10;

/// How many bytes the substitutions of one word may come to, those that are thrown away again
/// included: `${a+${b}}`.
const MAX_TAKEN_BYTES: usize = 16 << 20;

/// Why a word cannot be expanded, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct ExpandError {
    /// What is wrong.
    #[source]
    pub kind: ExpandErrorKind,
    /// The bytes of the word that it is about.
    pub range: Range<usize>,
}

/// Why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExpandErrorKind {
    /// A quote or `${…/` that never ends.
    #[error("missing {0} at the end of the word")]
    Unterminated(char),
    /// `${}`, `${:x}` and the like.
    #[error("bad substitution `{0}`")]
    BadSubstitution(String),
    /// `${x^}`: a modifier that does not exist.
    #[error("unsupported modifier `{modifier}` in the substitution of `{name}`")]
    UnsupportedModifier {
        /// The variable.
        name: String,
        /// The modifier as written.
        modifier: String,
    },
    /// `${x:?message}` of an unset variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message, as written or made up.
        message: String,
    },
    /// `${a:-${b:-…}}` without end.
    #[error("substitutions lie more than {MAX_DEPTH} deep in each other")]
    TooDeep,
    /// Variables that hold themselves many times over.
    #[error("the word grows by more than {MAX_GROWTH_BYTES} bytes")]
    TooLong,
    /// A long pattern against a long value, or many long values.
    #[error("the word takes too long to expand")]
    TooComplex,
}

/// What a word comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The word.
    pub text: String,
    /// The word split where white space is neither quoted nor escaped.
    pub words: Vec<String>,
    /// Variables that were asked for, set or not, in order.
    pub used: Vec<String>,
    /// Variables that are unset and have no default, in order.
    pub unset: Vec<Unset>,
}

/// A variable that is unset, where it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unset {
    /// Its name.
    pub name: String,
    /// The bytes of the word that ask for it: `$x`, `${x}`.
    pub range: Range<usize>,
}

/// How quotes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// They group and vanish. (words of an instruction)
    Remove,
    /// They are ordinary characters. (bodies of here-documents)
    Keep,
}

/// Returns `text` expanded with `variables`, `escape` being the escape character.
pub fn expand(
    text: &str,
    escape: char,
    quotes: Quotes,
    variables: &(impl Variables + ?Sized),
) -> Result<Expansion, ExpandError> {
    Scanner::new(text, escape, quotes, variables).run()
}

#[cfg(test)]
mod shell_tests;
#[cfg(test)]
mod tests;
