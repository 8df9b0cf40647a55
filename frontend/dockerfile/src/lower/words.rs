//! Words expanded, with errors and warnings that point at them.

use super::{Lowered, code};
use crate::diagnostic::Diagnostic;
use crate::expand::{Expansion, Quotes, Unset, Variables, expand};
use crate::lint::{Report, Rule};
use crate::syntax::{Span, Word};
use std::ops::Range;

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
    expand(text, escape, quotes, variables).map_err(|error| {
        let place = part(text, span, &error.range);
        Diagnostic::error(code::EXPANSION, place, error.to_string())
    })
}

/// Returns where `range` of `text`, which comes from `span`, stands.
///
/// That is only known if the text is written in one piece as it reads; else it is `span`.
fn part(text: &str, span: Span, range: &Range<usize>) -> Span {
    match span.end - span.start == text.len() && !range.is_empty() {
        true => Span::new(span.start + range.start, span.start + range.end),
        false => span,
    }
}

/// Adds a warning for each variable that is unset and has no default.
pub(super) fn warn_of_unset(rule: &Rule, word: &Word, expansion: &Expansion, lint: &mut Report) {
    for Unset { name, range } in &expansion.unset {
        let is_name = |character: char| character.is_alphabetic() || character == '_';
        if name.starts_with(is_name) {
            let message = format!("variable `{name}` is not set here");
            lint.report(rule, part(&word.text, word.span, range), message);
        }
    }
}
