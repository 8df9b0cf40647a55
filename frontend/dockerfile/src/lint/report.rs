//! Where rules, and lowering, put what they find.

use super::{Comments, Origin, Rule, Settings, rule_named};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity, suggest};
use crate::instruction::{Dockerfile, Statement};
use crate::syntax::Span;
use std::collections::HashMap;

/// After so many findings nobody looks for more in them.
const MOST_READ: usize = 200;

/// Findings of rules, and errors, each once, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    settings: Settings,
    findings: Vec<Diagnostic>,
    /// Findings by name and place, so that each is kept once.
    known: HashMap<(Code, usize), Vec<usize>>,
}

impl Report {
    /// Returns an empty report of the rules that `settings` want.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Says whether `rule` is checked at all: what is costly to find need not be looked for.
    pub(crate) fn wants(&self, rule: &Rule) -> bool {
        self.settings.wants(rule)
    }

    /// Adds that `rule` is broken at `span`.
    pub(crate) fn report(&mut self, rule: &Rule, span: Span, message: impl Into<String>) {
        self.add(Diagnostic::warning(rule.code(), span, message));
    }

    /// Adds `finding`, an error or that of a rule that is wanted.
    pub(crate) fn add(&mut self, finding: Diagnostic) {
        let is_wanted =
            is_error(&finding) || rule_named(finding.code.0).is_none_or(|rule| self.wants(rule));
        let same = self
            .known
            .entry((finding.code, place(&finding)))
            .or_default();
        if is_wanted && same.iter().all(|index| self.findings[*index] != finding) {
            same.push(self.findings.len());
            self.findings.push(finding);
        }
    }

    /// Returns the one of `known` that `word` may be a slip of, as long as somebody reads it.
    pub(super) fn suggest<'k>(&self, word: &str, known: &[&'k str]) -> Option<&'k str> {
        match self.findings.len() < MOST_READ {
            true => suggest(word, known),
            false => None,
        }
    }

    /// Says whether one of the findings is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.findings.iter().any(is_error)
    }

    /// Says whether one of the errors is about something in `span`.
    pub(super) fn has_error_in(&self, span: Span) -> bool {
        let mut errors = self.findings.iter().filter(|finding| is_error(finding));
        errors.any(|error| span.range().contains(&place(error)))
    }

    /// Returns the findings in the order of the file, those without a place last, and without
    /// those that a comment of `dockerfile` skips.
    pub(crate) fn into_findings(self, dockerfile: &Dockerfile) -> Diagnostics {
        let mut findings = self.findings;
        findings.retain(|finding| is_error(finding) || !is_skipped(dockerfile, finding));
        findings.sort_by_key(place);
        Diagnostics(findings.into_iter().map(Diagnostic::printable).collect())
    }

    /// Returns the findings if the build can go on.
    ///
    /// Errors: all findings, where one is an error; where rules are to fail the build and one
    /// of them is broken, the last says so.
    pub(crate) fn verdict(self, dockerfile: &Dockerfile) -> Result<Diagnostics, Diagnostics> {
        let fails = self.settings.fails();
        let mut findings = self.into_findings(dockerfile);
        if findings.has_errors() {
            return Err(findings);
        }
        match violation(&findings.0).filter(|_| fails) {
            None => Ok(findings),
            Some(error) => {
                findings.0.push(error);
                Err(findings)
            }
        }
    }
}

fn is_error(finding: &Diagnostic) -> bool {
    finding.severity == Severity::Error
}

/// Returns where a finding belongs among others.
fn place(finding: &Diagnostic) -> usize {
    let first = finding.labels.first();
    first.map_or(usize::MAX, |label| label.span.start)
}

/// Says whether a comment above an instruction that `finding` is about skips its rule.
fn is_skipped(dockerfile: &Dockerfile, finding: &Diagnostic) -> bool {
    let comments = Comments::of(dockerfile);
    let statements = finding
        .labels
        .iter()
        .filter_map(|label| statement_at(dockerfile, label.span));
    let mut checks = statements.filter_map(|statement| comments.check(statement));
    checks.any(|check| check.skips(finding.code.0))
}

/// Returns the statement of `dockerfile` that `span` starts in.
pub(crate) fn statement_at(dockerfile: &Dockerfile, span: Span) -> Option<&Statement> {
    let statements = &dockerfile.statements;
    let after = statements.partition_point(|statement| statement.span.start <= span.start);
    let statement = &statements[after.checked_sub(1)?];
    (span.start < statement.span.end).then_some(statement)
}

/// Returns the error that `error=true` makes of `findings`, at the first of them.
///
/// Rules that only Kiln has fail no build: other builders would not know why.
fn violation(findings: &[Diagnostic]) -> Option<Diagnostic> {
    let is_of_dockerfile = |finding: &&Diagnostic| {
        rule_named(finding.code.0).is_some_and(|rule| rule.origin == Origin::Dockerfile)
    };
    let broken: Vec<_> = findings.iter().filter(is_of_dockerfile).collect();
    let mut names: Vec<_> = broken.iter().map(|finding| finding.code.0).collect();
    names.sort_unstable();
    names.dedup();
    let first = broken.first()?;
    let message = format!("lint violation found for rules: {}", names.join(", "));
    let span = first.labels.first().map(|label| label.span);
    let error = Diagnostic::error(Code::LINT_VIOLATION, span.unwrap_or_default(), message);
    Some(error.with_help("the file asks for this with `# check=error=true`"))
}
