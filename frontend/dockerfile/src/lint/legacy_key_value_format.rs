//! LegacyKeyValueFormat: `ENV KEY=VALUE`, not `ENV KEY VALUE`.

use super::{LEGACY_KEY_VALUE_FORMAT, Report};
use crate::instruction::{KeyValue, Statement};

/// Checks the `pairs` of an ENV or LABEL that is in the old form.
pub(super) fn check(statement: &Statement, pairs: &[KeyValue], report: &mut Report) {
    let keyword = &statement.keyword.text;
    for pair in pairs {
        let span = pair.key.span.join(pair.value.span);
        let message = format!(
            "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
        );
        report.report(&LEGACY_KEY_VALUE_FORMAT, span, message);
    }
}
