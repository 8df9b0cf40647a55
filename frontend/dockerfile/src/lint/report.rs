//! Where rules, and lowering, put what they find.

use super::Rule;
use crate::diagnostic::Diagnostic;
use crate::syntax::Span;

/// Findings of rules, and errors, each once, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Diagnostic>,
}

impl Report {
    /// Adds that `rule` is broken at `span`.
    pub(crate) fn report(&mut self, rule: &Rule, span: Span, message: impl Into<String>) {
        self.add(Diagnostic::warning(rule.code(), span, message));
    }

    /// Adds `finding`, which is a rule's or an error.
    pub(crate) fn add(&mut self, finding: Diagnostic) {
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Returns the findings.
    pub(crate) fn into_findings(self) -> Vec<Diagnostic> {
        self.findings
    }
}
