//! Findings as one JSON object.

use super::Checked;
use super::place::Place;
use kiln_dockerfile::lint::rule_named;
use kiln_dockerfile::{Diagnostic, Label, Position, Severity, SourceFile};
use serde_json::{Value, json};

pub fn answer(checked: &[Checked]) -> String {
    let findings: Vec<_> = checked
        .iter()
        .flat_map(|checked| {
            let source = &checked.source;
            checked
                .findings
                .iter()
                .map(|finding| object(source, finding))
        })
        .collect();
    format!("{:#}\n", json!({ "findings": findings }))
}

fn object(source: &SourceFile, finding: &Diagnostic) -> Value {
    let rule = rule_named(finding.code.0);
    let notes = finding.labels.iter().skip(1);
    let place = Place::of(source, finding);
    json!({
        "rule": finding.code.0,
        "severity": match finding.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        "file": source.name(),
        "start": place.map(|place| position(place.start)),
        "end": place.map(|place| position(place.end)),
        "message": finding.message,
        "help": finding.help,
        "notes": notes.map(|label| note(source, label)).collect::<Vec<_>>(),
        "description": rule.map(|rule| rule.description),
        "url": rule.and_then(|rule| rule.url()),
    })
}

fn position(position: Position) -> Value {
    json!({ "line": position.line, "column": position.column })
}

fn note(source: &SourceFile, label: &Label) -> Value {
    let place = Place::of_span(source, label.span);
    json!({ "text": label.text, "start": position(place.start), "end": position(place.end) })
}
