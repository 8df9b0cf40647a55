//! MultipleInstructionsDisallowed: of CMD, ENTRYPOINT and HEALTHCHECK only the last counts.

use super::{MULTIPLE_INSTRUCTIONS_DISALLOWED, Report};
use crate::diagnostic::Diagnostic;
use crate::instruction::Statement;
use crate::syntax::Span;

/// Checks `statement` against the one of its kind before it, which it then stands for.
pub(super) fn check(statement: &Statement, earlier: &mut Option<Span>, report: &mut Report) {
    let keyword = &statement.keyword;
    if let Some(span) = earlier.replace(keyword.span) {
        let message = format!(
            "Multiple {} instructions should not be used in the same stage because only the last one will be used",
            keyword.text
        );
        let code = MULTIPLE_INSTRUCTIONS_DISALLOWED.code();
        let finding = Diagnostic::warning(code, span, message).with_text("without effect");
        report.add(finding.with_label(keyword.span, "because of this one"));
    }
}
