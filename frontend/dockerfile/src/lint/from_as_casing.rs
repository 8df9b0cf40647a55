//! FromAsCasing: `FROM … AS` or `from … as`.

use super::casing::Casing;
use super::{FROM_AS_CASING, Report};
use crate::instruction::{FromBase, Statement};

pub(super) fn check(statement: &Statement, from: &FromBase, report: &mut Report) {
    let (keyword, Some(word)) = (&statement.keyword.text, &from.as_keyword) else {
        return;
    };
    let Some(casing) = Casing::of(keyword) else {
        // A mixed FROM has a rule of its own.
        return;
    };
    if !casing.holds(&word.text) {
        let message = format!(
            "'{}' and '{keyword}' keywords' casing do not match",
            word.text
        );
        report.report(&FROM_AS_CASING, word.span, message);
    }
}
