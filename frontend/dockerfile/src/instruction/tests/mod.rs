//! Whole files to instructions and findings.

mod accepted;
mod limits;
mod rejected;
mod statements;

use super::*;
use crate::diagnostic::{Diagnostics, Severity};
use crate::syntax::SourceFile;

fn source(text: &str) -> SourceFile {
    SourceFile::new("Dockerfile", text)
}

/// Returns the instructions after `FROM scratch`, all of which must be right.
fn instructions(text: &str) -> Vec<Instruction> {
    let source = source(&format!("FROM scratch\n{text}"));
    let (dockerfile, findings) = parse(&source);
    assert!(!findings.has_errors(), "{text:?}: {findings:?}");
    dockerfile
        .statements
        .into_iter()
        .skip(1)
        .map(|statement| statement.instruction)
        .collect()
}

fn instruction(text: &str) -> Instruction {
    let mut instructions = instructions(text);
    assert_eq!(instructions.len(), 1, "{text:?}");
    instructions.remove(0)
}

/// Returns each finding as `severity line:column message; help`.
fn findings(text: &str) -> Vec<String> {
    let source = source(text);
    let (_, Diagnostics(findings)) = parse(&source);
    let shown = findings.into_iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let position = source.position(finding.labels[0].span.start);
        let help = finding
            .help
            .map(|help| format!("; {help}"))
            .unwrap_or_default();
        format!(
            "{severity} {}:{} {}{help}",
            position.line, position.column, finding.message
        )
    });
    shown.collect()
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn text(word: &Option<Word>) -> Option<&str> {
    word.as_ref().map(|word| word.text.as_str())
}
