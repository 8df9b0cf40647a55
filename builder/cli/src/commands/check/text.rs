//! Findings as text: the lines of the file, with marks.

use super::Checked;
use anstream::{AutoStream, ColorChoice};

/// How many findings are put into lines at once: a rendering shows no more.
const AT_ONCE: usize = 20;

pub fn answer(checked: &[Checked]) -> String {
    let choice = AutoStream::choice(&std::io::stdout());
    let is_coloured = choice != ColorChoice::Never;
    let blocks = checked.iter().flat_map(|checked| {
        let source = &checked.source;
        let some = checked.findings.chunks(AT_ONCE);
        some.map(move |findings| kiln_dockerfile::render(source, findings, is_coloured))
    });
    let blocks: Vec<_> = blocks.collect();
    match blocks.is_empty() {
        true => "nothing found\n".to_owned(),
        false => blocks.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_dockerfile::{Code, Diagnostic, SourceFile, Span};

    #[test]
    fn all_findings_are_shown() {
        let source = SourceFile::new("Dockerfile", "FROM a\n".repeat(45));
        let finding = |at: usize| Diagnostic::warning(Code("Rule"), Span::new(at * 7, at * 7), "m");
        let findings = (0..45).map(finding).collect();
        let text = answer(&[Checked { source, findings }]);
        assert_eq!(text.matches("warning[Rule]").count(), 45, "{text}");
        assert!(text.contains("Dockerfile:45:1"), "{text}");
    }
}
