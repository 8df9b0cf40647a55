//! FromPlatformFlagConstDisallowed: `--platform` follows an argument, unless the stage's name
//! says that it is for one platform.

use super::{FROM_PLATFORM_FLAG_CONST_DISALLOWED, Report};
use crate::expand::Expansion;
use crate::syntax::Word;
use kiln_oci::Platform;

/// Checks the value of `--platform` of the stage `name`, which is in lower case.
pub(crate) fn check(word: &Word, expansion: &Expansion, name: Option<&str>, report: &mut Report) {
    if !expansion.used.is_empty() {
        return;
    }
    let Ok(platform) = expansion.text.parse::<Platform>() else {
        return;
    };
    let name = name.unwrap_or_default();
    if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
        let message = format!(
            "FROM --platform flag should not use constant value {:?}",
            expansion.text
        );
        report.report(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, word.span, message);
    }
}
