//! ReservedStageName: no stage is called `scratch` or `context`.

use super::{RESERVED_STAGE_NAME, Report, stage_names};
use crate::instruction::Statement;

pub(super) fn check(statements: &[Statement], report: &mut Report) {
    for (name, word) in stage_names(statements) {
        if matches!(name.as_str(), "scratch" | "context") {
            let message =
                format!("Stage name should not use the same name as reserved stage {name:?}");
            report.report(&RESERVED_STAGE_NAME, word.span, message);
        }
    }
}
