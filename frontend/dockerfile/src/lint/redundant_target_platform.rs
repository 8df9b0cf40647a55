//! RedundantTargetPlatform: a stage is for the target's platform without being told so.

use super::{REDUNDANT_TARGET_PLATFORM, Report};
use crate::expand::Expansion;
use crate::syntax::Word;

/// Checks the value of `--platform`, where `TARGETPLATFORM` is `target`.
pub(crate) fn check(word: &Word, expansion: &Expansion, target: Option<&str>, report: &mut Report) {
    let is_alone =
        !expansion.used.is_empty() && expansion.used.iter().all(|name| name == "TARGETPLATFORM");
    if is_alone && target == Some(expansion.text.as_str()) {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.text
        );
        report.report(&REDUNDANT_TARGET_PLATFORM, word.span, message);
    }
}
