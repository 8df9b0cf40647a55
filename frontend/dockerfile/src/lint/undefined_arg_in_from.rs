//! UndefinedArgInFrom: FROM uses arguments that are declared before the first FROM.

use super::{Report, UNDEFINED_ARG_IN_FROM};
use crate::syntax::Span;

/// Reports those of `unset`, each with its place, that are not among `known`: the arguments
/// that are declared or predefined.
pub(crate) fn check<'n>(
    unset: impl Iterator<Item = (&'n str, Span)>,
    known: &[&str],
    report: &mut Report,
) {
    for (name, span) in unset.filter(|(name, _)| !known.contains(name)) {
        let hint = match report.suggest(name, known) {
            Some(near) => format!(" (did you mean {near}?)"),
            None => String::new(),
        };
        let message = format!("FROM argument '{name}' is not declared{hint}");
        report.report(&UNDEFINED_ARG_IN_FROM, span, message);
    }
}
