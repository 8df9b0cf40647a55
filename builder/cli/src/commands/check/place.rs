//! Where a finding stands, in lines and columns.

use kiln_dockerfile::{Diagnostic, Position, SourceFile, Span};
use serde_json::{Value, json};

/// The start and the end of something, the end being after its last character.
#[derive(Clone, Copy)]
pub struct Place {
    pub start: Position,
    pub end: Position,
}

impl Place {
    /// Returns where `finding` is, unless it is not about the file.
    pub fn of(source: &SourceFile, finding: &Diagnostic) -> Option<Self> {
        let label = finding.labels.first()?;
        Some(Self::of_span(source, label.span))
    }

    pub fn of_span(source: &SourceFile, span: Span) -> Self {
        Place {
            start: source.position(span.start),
            end: source.position(span.end),
        }
    }

    /// Returns the place with the names that SARIF has for its parts.
    pub fn region(self) -> Value {
        json!({
            "startLine": self.start.line,
            "startColumn": self.start.column,
            "endLine": self.end.line,
            "endColumn": self.end.column,
        })
    }
}
