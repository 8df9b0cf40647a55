//! DuplicateStageName: a name for one stage only.

use super::{DUPLICATE_STAGE_NAME, Report, stage_names};
use crate::diagnostic::Diagnostic;
use crate::instruction::Statement;
use std::collections::HashMap;

pub(super) fn check(statements: &[Statement], report: &mut Report) {
    let mut seen = HashMap::new();
    for (name, word) in stage_names(statements) {
        let message = format!("Duplicate stage name {name:?}, stage names should be unique");
        if let Some(earlier) = seen.insert(name, word.span) {
            let finding = Diagnostic::warning(DUPLICATE_STAGE_NAME.code(), word.span, message);
            report.add(finding.with_label(earlier, "the first one"));
        }
    }
}
