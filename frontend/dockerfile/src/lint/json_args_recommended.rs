//! JSONArgsRecommended: CMD and ENTRYPOINT without a shell in between.

use super::{JSON_ARGS_RECOMMENDED, Report};
use crate::diagnostic::Diagnostic;
use crate::instruction::{Command, Statement};
use crate::syntax::Span;

/// Checks a CMD or ENTRYPOINT; where SHELL chose the shell, it is wanted.
pub(super) fn check(
    statement: &Statement,
    command: &Command,
    shell_is_chosen: bool,
    report: &mut Report,
) {
    let Command::Shell { .. } = command else {
        return;
    };
    if shell_is_chosen {
        return;
    }
    let keyword = &statement.keyword;
    let message = format!(
        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
        keyword.text
    );
    let span = Span::new(keyword.span.start, statement.span.end);
    let finding = Diagnostic::warning(JSON_ARGS_RECOMMENDED.code(), span, message);
    report.add(finding.with_help(format!(
        "write it as `{} [\"PROGRAM\", \"ARGUMENT\"]`",
        keyword.text
    )));
}
