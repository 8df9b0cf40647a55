//! StageNameCasing: names of stages in lower case.

use super::{Report, STAGE_NAME_CASING};
use crate::instruction::FromBase;

pub(super) fn check(from: &FromBase, report: &mut Report) {
    let Some(name) = &from.name else { return };
    if name.text.chars().any(char::is_uppercase) {
        let message = format!("Stage name '{}' should be lowercase", name.text);
        report.report(&STAGE_NAME_CASING, name.span, message);
    }
}
