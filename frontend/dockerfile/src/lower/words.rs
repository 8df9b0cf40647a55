//! Words expanded, with errors and warnings that point at them.

use super::{Lowered, code};
use crate::diagnostic::Diagnostic;
use crate::expand::{Expansion, Quotes, Unset, Variables, expand};
use crate::lint::{self, Report};
use crate::syntax::{Heredoc, Span, Word};
use std::collections::HashSet;
use std::ops::Range;

/// Returns `word` expanded.
pub(super) fn expansion(
    word: &Word,
    escape: char,
    variables: &(impl Variables + ?Sized),
) -> Lowered<Expansion> {
    expand(&word.text, escape, Quotes::Remove, variables).map_err(|error| {
        let place = part(&word.text, word.span, &error.range);
        Diagnostic::error(code::EXPANSION, place, error.to_string())
    })
}

/// Returns the body of `heredoc`, expanded.
pub(super) fn expansion_of_body(
    heredoc: &Heredoc,
    variables: &(impl Variables + ?Sized),
) -> Lowered<Expansion> {
    expand(&heredoc.body(), '\\', Quotes::Keep, variables).map_err(|error| {
        let place = heredoc.place(&error.range);
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

/// The most variables of one word that are told to be unset; each takes time to word.
const MOST_UNSET: usize = 20;

/// Returns the variables that `word` asks for and that are unset, each once, with its place.
pub(super) fn unset<'e>(
    word: &'e Word,
    expansion: &'e Expansion,
) -> impl Iterator<Item = (&'e str, Span)> {
    unset_at(expansion, |range| part(&word.text, word.span, range))
}

fn unset_at<'e>(
    expansion: &'e Expansion,
    place: impl Fn(&Range<usize>) -> Span,
) -> impl Iterator<Item = (&'e str, Span)> {
    let mut seen = HashSet::new();
    let first = expansion
        .unset
        .iter()
        .filter(move |unset| seen.insert(&unset.name));
    let named = move |unset: &'e Unset| (unset.name.as_str(), place(&unset.range));
    first.take(MOST_UNSET).map(named)
}

/// Variables that know which of them there are.
pub(super) trait Scope: Variables {
    /// Says whether `name` is declared, be it without a value.
    fn declares(&self, name: &str) -> bool;

    /// Returns the names of all that are set or declared.
    fn names(&self) -> Vec<&str>;
}

/// Checks that what `word` used is set, or at least declared.
pub(super) fn check_unset(
    word: &Word,
    expansion: &Expansion,
    scope: &impl Scope,
    lint: &mut Report,
) {
    check_undeclared(unset(word, expansion), scope, lint);
}

/// Checks that what the body of `heredoc` used is set, or at least declared.
pub(super) fn check_unset_of_body(
    heredoc: &Heredoc,
    expansion: &Expansion,
    scope: &impl Scope,
    lint: &mut Report,
) {
    let unset = unset_at(expansion, |range| heredoc.place(range));
    check_undeclared(unset, scope, lint);
}

fn check_undeclared<'e>(
    unset: impl Iterator<Item = (&'e str, Span)>,
    scope: &impl Scope,
    lint: &mut Report,
) {
    let mut undeclared = unset.filter(|(name, _)| !scope.declares(name)).peekable();
    if undeclared.peek().is_some() {
        lint::undefined_var::check(undeclared, &scope.names(), lint);
    }
}
