//! MaintainerDeprecated: a label names the author.

use super::{MAINTAINER_DEPRECATED, Report};
use crate::diagnostic::Diagnostic;
use crate::instruction::Statement;

pub(super) fn check(statement: &Statement, report: &mut Report) {
    let message = "Maintainer instruction is deprecated in favor of using label";
    let span = statement.keyword.span;
    let finding = Diagnostic::warning(MAINTAINER_DEPRECATED.code(), span, message);
    report.add(finding.with_help("write `LABEL org.opencontainers.image.authors=\"NAME\"`"));
}
