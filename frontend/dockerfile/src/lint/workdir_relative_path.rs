//! WorkdirRelativePath: the first WORKDIR does not depend on that of the base image.

use super::{Report, StageFacts, WORKDIR_RELATIVE_PATH};
use crate::syntax::Word;

/// Checks the WORKDIR `word`, which comes to `path`.
pub(crate) fn check(word: &Word, path: &str, facts: &mut StageFacts, report: &mut Report) {
    if !facts.has_workdir && !path.starts_with('/') {
        let message = format!(
            "Relative workdir {path:?} can have unexpected results if the base image changes"
        );
        report.report(&WORKDIR_RELATIVE_PATH, word.span, message);
    }
    facts.has_workdir = true;
}
