//! Findings as workflow commands of GitHub Actions, which shows them at the lines of a change.

use super::Checked;
use super::place::Place;
use kiln_dockerfile::{Diagnostic, Severity, SourceFile};

pub fn answer(checked: &[Checked]) -> String {
    let mut text = String::new();
    for checked in checked {
        for finding in &checked.findings {
            text.push_str(&command(&checked.source, finding));
            text.push('\n');
        }
    }
    text
}

fn command(source: &SourceFile, finding: &Diagnostic) -> String {
    let name = match finding.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut properties = format!("file={}", property(source.name()));
    if let Some(place) = Place::of(source, finding) {
        let (first, last) = (place.start.line, place.end.line);
        properties.push_str(&format!(",line={first},endLine={last}"));
    }
    let title = property(finding.code.0);
    let message = match &finding.help {
        Some(help) => format!("{}\n{help}", finding.message),
        None => finding.message.clone(),
    };
    format!("::{name} {properties},title={title}::{}", data(&message))
}

/// Escapes what would end the message of a command.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes what would end a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_dockerfile::{Code, Span};

    #[test]
    fn finding_is_a_command_with_its_lines() {
        let source = SourceFile::new("a,b:c/Dockerfile", "FROM a\nCMD b\\\n c\n");
        let finding =
            Diagnostic::warning(Code("Rule"), Span::new(7, 15), "100% wrong").with_help("mend it");
        assert_eq!(
            command(&source, &finding),
            "::warning file=a%2Cb%3Ac/Dockerfile,line=2,endLine=3,title=Rule::100%25 wrong%0Amend it"
        );
    }

    #[test]
    fn finding_about_no_line_has_none() {
        let source = SourceFile::new("Dockerfile", "");
        let mut finding = Diagnostic::error(Code("Rule"), Span::default(), "a\r\nb");
        finding.labels.clear();
        assert_eq!(
            command(&source, &finding),
            "::error file=Dockerfile,title=Rule::a%0D%0Ab"
        );
    }
}
