//! Words expanded, with errors and warnings that point at them.

use super::{Lowered, code};
use crate::diagnostic::Diagnostic;
use crate::expand::{Expansion, Quotes, Variables, expand};
use crate::lint::{Report, Rule};
use crate::syntax::{Span, Word};

/// Returns `word` expanded.
pub(super) fn expansion(
    word: &Word,
    escape: char,
    variables: &(impl Variables + ?Sized),
) -> Lowered<Expansion> {
    expansion_of(&word.text, word.span, escape, Quotes::Remove, variables)
}

/// Returns `text`, which stands at `span`, expanded.
pub(super) fn expansion_of(
    text: &str,
    span: Span,
    escape: char,
    quotes: Quotes,
    variables: &(impl Variables + ?Sized),
) -> Lowered<Expansion> {
    expand(text, escape, quotes, variables)
        .map_err(|error| Diagnostic::error(code::EXPANSION, span, error.to_string()))
}

/// Adds a warning for each variable that is unset and has no default.
pub(super) fn warn_of_unset(rule: &Rule, word: &Word, expansion: &Expansion, lint: &mut Report) {
    for name in &expansion.unset {
        let is_name = |character: char| character.is_alphabetic() || character == '_';
        if name.starts_with(is_name) {
            let message = format!("variable `{name}` is not set here");
            lint.report(rule, word.span, message);
        }
    }
}
