//! Findings as text: message, place, the lines around it, advice.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Severity};
use crate::syntax::{SourceFile, Span};

/// The most findings that are shown; the rest is counted.
const MOST_SHOWN: usize = 20;

/// Returns `diagnostics` as text, with colours or plain; every finding ends with a line end.
pub fn render(source: &SourceFile, diagnostics: &[Diagnostic], is_coloured: bool) -> String {
    let renderer = if is_coloured {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(MOST_SHOWN) {
        text.push_str(&render_one(&renderer, source, diagnostic));
        text.push_str("\n\n");
    }
    if let Some(hidden) = diagnostics
        .len()
        .checked_sub(MOST_SHOWN)
        .filter(|count| *count > 0)
    {
        text.push_str(&format!("and {hidden} more findings\n"));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn render_one(renderer: &Renderer, source: &SourceFile, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.0);
    let mut group = Group::with_title(title);
    if !diagnostic.labels.is_empty() {
        group = group.element(snippet(source, diagnostic));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// Returns the lines that the labels stand on; the whole file would cost time in each.
fn snippet<'a>(
    source: &'a SourceFile,
    diagnostic: &'a Diagnostic,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let spans: Vec<_> = diagnostic
        .labels
        .iter()
        .map(|label| fit(source, label.span))
        .collect();
    let start = spans
        .iter()
        .map(|span| span.start)
        .min()
        .unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();
    let text = source.text();
    let start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[end..]
        .find('\n')
        .map_or(text.len(), |newline| end + newline);
    let snippet = Snippet::source(&text[start..end])
        .line_start(source.line(start))
        .path(source.name());
    let annotations =
        diagnostic
            .labels
            .iter()
            .zip(spans)
            .enumerate()
            .map(|(index, (label, span))| {
                let kind = if index == 0 {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                let text = (!label.text.is_empty()).then_some(label.text.as_str());
                kind.span(span.start - start..span.end - start).label(text)
            });
    snippet.annotations(annotations)
}

/// Returns the part of `span` that the source has, cut at characters.
fn fit(source: &SourceFile, span: Span) -> Range<usize> {
    let text = source.text();
    let floor = |offset: usize| {
        let offset = offset.min(text.len());
        (0..=offset)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or_default()
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;

    #[test]
    fn finding_is_rendered_with_its_line_and_advice() {
        let source = SourceFile::new("Dockerfile", "FROM a\nCOPY --form=b c d\n");
        let finding = Diagnostic::error(Code::UNKNOWN_FLAG, Span::new(12, 18), "unknown flag")
            .with_help("did you mean `--from`?");
        let expected = "\
error[UnknownFlag]: unknown flag
 --> Dockerfile:2:6
  |
2 | COPY --form=b c d
  |      ^^^^^^
  |
  = help: did you mean `--from`?
";
        assert_eq!(
            render(&source, std::slice::from_ref(&finding), false),
            expected
        );
        assert!(render(&source, &[finding], true).contains("\u{1b}["));
    }

    #[test]
    fn span_that_does_not_fit_is_cut() {
        let source = SourceFile::new("Dockerfile", "ü");
        for (start, end) in [(0, 99), (1, 1), (99, 3), (2, 2)] {
            let finding = Diagnostic::error(Code::NO_STAGE, Span::new(start, end), "x");
            assert!(render(&source, &[finding], false).contains("Dockerfile:1:"));
        }
    }

    #[test]
    fn many_findings_are_counted() {
        let source = SourceFile::new("Dockerfile", "x\n".repeat(1000));
        let finding = Diagnostic::error(Code::NO_STAGE, Span::new(0, 1), "x");
        let text = render(&source, &vec![finding; 25], false);
        assert!(text.ends_with("and 5 more findings\n"), "{text}");
    }
}
