//! What is wrong, or odd, with a Dockerfile, and where.

mod code;
mod render;
mod suggest;

pub use code::Code;
pub use render::render;
pub use suggest::suggest;

use crate::syntax::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build can't start.
    Error,
}

/// A place in the source and what to say about it; the text may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What to say there.
    pub text: String,
}

/// A finding. The first label is the place it is about, the others explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable name.
    pub code: Code,
    /// What is wrong, lower case, no final period.
    pub message: String,
    /// Where, and why there.
    pub labels: Vec<Label>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Returns an error about `span`.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    /// Returns a warning about `span`.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message)
    }

    fn new(severity: Severity, code: Code, span: Span, message: impl Into<String>) -> Self {
        let labels = vec![Label {
            span,
            text: String::new(),
        }];
        Self {
            severity,
            code,
            message: message.into(),
            labels,
            help: None,
        }
    }

    /// Returns the diagnostic with `text` at the place it is about.
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        if let Some(label) = self.labels.first_mut() {
            label.text = text.into();
        }
        self
    }

    /// Returns the diagnostic with one more place.
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Returns the diagnostic with control characters escaped: a file that is complained about
    /// does not steer a terminal.
    pub(crate) fn printable(mut self) -> Self {
        for label in &mut self.labels {
            label.text = printable(&label.text);
        }
        self.message = printable(&self.message);
        self
    }

    /// Returns the diagnostic with advice.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The findings of one file, errors and warnings, in the order they were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Says whether any of them stops the build.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Returns `text` with control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => printable.extend(character.escape_default()),
            false => printable.push(character),
        }
    }
    printable
}

/// The most characters of a text that a message repeats.
const QUOTED_CHARACTERS: usize = 60;

/// Returns `text` between backticks, control characters escaped, cut if it is long.
pub fn quoted(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(QUOTED_CHARACTERS) {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    let rest = if text.chars().nth(QUOTED_CHARACTERS).is_some() {
        "…"
    } else {
        ""
    };
    format!("`{shown}{rest}`")
}

/// Returns `finding` with the candidate that `word` may be a slip of, or with nothing more.
///
/// `prefix` is shown before the candidate, as `--` before a flag's name.
pub fn with_suggestion(
    finding: Diagnostic,
    word: &str,
    prefix: &str,
    candidates: &[&str],
) -> Diagnostic {
    match suggest(word, candidates) {
        Some(candidate) => finding.with_help(format!("did you mean `{prefix}{candidate}`?")),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_short_and_printable() {
        assert_eq!(quoted("a\u{1b}[1m"), "`a\\u{1b}[1m`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
    }
}
