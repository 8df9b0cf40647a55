//! InvalidCheck: a `check=` says something, about rules that there are.

use super::{Comments, INVALID_CHECK, RULES, Report, rule_named};
use crate::diagnostic::{Diagnostic, Severity, quoted, with_suggestion};
use crate::instruction::Dockerfile;
use crate::syntax::{Check, Word};

/// Checks the directive of the file and those above instructions.
pub(super) fn check(dockerfile: &Dockerfile, report: &mut Report) {
    if let Some(check) = &dockerfile.directives.check {
        check_rules(check, report);
    }
    let comments = Comments::of(dockerfile);
    for (comment, check) in comments.checks() {
        match check {
            Ok(_) if !comments.is_above(comment, &dockerfile.statements) => {
                let message = "`check` stands right above no instruction";
                report.report(&INVALID_CHECK, comment.span, message);
            }
            Ok(check) => check_of_instruction(&check, report),
            // The file's own is wrong: that is an error, and told.
            Err(_) if report.has_error_in(comment.span) => {}
            Err(error) => report.add(Diagnostic {
                severity: Severity::Warning,
                code: INVALID_CHECK.code(),
                ..error
            }),
        }
    }
}

fn check_of_instruction(check: &Check, report: &mut Report) {
    check_rules(check, report);
    if check.error || !check.experimental.is_empty() {
        let message = "above an instruction, only `skip` has a meaning";
        report.report(&INVALID_CHECK, check.span, message);
    }
}

fn check_rules(check: &Check, report: &mut Report) {
    for word in check.skip.iter().chain(&check.experimental) {
        if word.text != "all" && rule_named(&word.text).is_none() {
            report.add(unknown(word));
        }
    }
}

fn unknown(word: &Word) -> Diagnostic {
    let message = format!("{} is not a rule", quoted(&word.text));
    let finding = Diagnostic::warning(INVALID_CHECK.code(), word.span, message);
    let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    with_suggestion(finding, &word.text, "", &names)
}
