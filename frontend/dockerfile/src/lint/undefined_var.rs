//! UndefinedVar: variables are set, or at least declared, before they are used.

use super::{Report, UNDEFINED_VAR};
use crate::syntax::Span;

/// Reports the variables `undefined`, of which each has its place; `known` has those that are
/// set.
pub(crate) fn check<'n>(
    undefined: impl Iterator<Item = (&'n str, Span)>,
    known: &[&str],
    report: &mut Report,
) {
    for (name, span) in undefined {
        let hint = match report.suggest(name, known) {
            Some(near) => format!(" (did you mean ${near}?)"),
            None => String::new(),
        };
        let message = format!("Usage of undefined variable '${name}'{hint}");
        report.report(&UNDEFINED_VAR, span, message);
    }
}
