//! InvalidDefinitionDescription: the comment above a stage or an argument describes it.

use super::{Comments, INVALID_DEFINITION_DESCRIPTION, Report};
use crate::diagnostic::Diagnostic;
use crate::instruction::Statement;

/// Checks the comment above `statement`, a `keyword` that defines `names`.
pub(super) fn check(
    keyword: &str,
    statement: &Statement,
    names: &[&str],
    comments: Comments<'_>,
    report: &mut Report,
) {
    let comment = comments.above(statement).last();
    let (Some(comment), [first, others @ ..]) = (comment, names) else {
        return;
    };
    let described = comment.text.split(' ').next().unwrap_or_default();
    if names.contains(&described) {
        return;
    }
    let example = match others {
        [] => first,
        _ => "<arg_key>",
    };
    let message =
        format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    let code = INVALID_DEFINITION_DESCRIPTION.code();
    let finding = Diagnostic::warning(code, statement.keyword.span, message);
    let finding = finding.with_label(comment.span, "this comment");
    report
        .add(finding.with_help("put an empty line after a comment that describes something else"));
}
