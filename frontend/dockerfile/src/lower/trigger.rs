//! ONBUILD: instructions that an image keeps for the stages that start from it.

use super::state::StageState;
use super::{Lowered, code};
use crate::diagnostic::{Diagnostic, Label};
use crate::instruction::{Statement, parse_trigger};
use crate::lint::Report;
use crate::syntax::{Escape, Span};

/// Takes the triggers out of `state`; `span` is the FROM that sets them off.
///
/// Those that cannot be read are findings.
pub(super) fn take(state: &mut StageState, span: Span, lint: &mut Report) -> Vec<Statement> {
    let triggers = std::mem::take(&mut state.config.config.on_build);
    let mut statements = Vec::new();
    for text in &triggers {
        match parse(text, span) {
            Ok(statement) => statements.push(statement),
            Err(error) => lint.add(error),
        }
    }
    statements
}

fn parse(text: &str, span: Span) -> Lowered<Statement> {
    parse_trigger(text, Escape::Backslash).map_err(|findings| {
        let message = format!("the base image's trigger `{text}` is malformed");
        let error = Diagnostic::error(code::INVALID_TRIGGER, span, message);
        match findings.0.first() {
            Some(finding) => error.with_text(finding.message.clone()),
            None => error,
        }
    })
}

/// Returns `error`, found in a trigger, as one about the FROM at `span` that sets it off.
pub(super) fn relocate(error: Diagnostic, trigger: &Statement, span: Span) -> Diagnostic {
    let text = format!("brings in the trigger `{}`", trigger.text.trim());
    Diagnostic {
        labels: vec![Label { span, text }],
        ..error
    }
}
