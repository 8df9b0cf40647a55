//! `--call check`: what rules find, and the error that ends the Dockerfile, if there is one.

use super::excerpt::excerpt;
use super::json::{data, location, object, print};
use crate::arguments::{Call, CallFormat, CallStatus};
use crate::error::{Class, Failure};
use kiln_dockerfile::lint::{Places, rule_named};
use kiln_dockerfile::{Compilation, Diagnostic, Diagnostics, Severity, SourceFile};
use serde_json::{Value, json};

/// Returns what was found, whether the Dockerfile could be compiled or not.
pub fn findings(compiled: Result<Compilation, Diagnostics>) -> Diagnostics {
    match compiled {
        Ok(compilation) => compilation.warnings,
        Err(findings) => findings,
    }
}

pub fn answer(call: &Call, source: &SourceFile, findings: &Diagnostics) -> Result<(), Failure> {
    let is_error = |finding: &&Diagnostic| finding.severity == Severity::Error;
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.0.iter().partition(is_error);
    let places = Places::of(source);
    match call.format {
        CallFormat::Json => print(&json_of(source, &places, &warnings, &errors)),
        CallFormat::Text => {
            let text = text_of(source, &places, &warnings, errors.is_empty());
            crate::output::write(format_args!("{text}"));
        }
    }
    if !errors.is_empty() {
        let errors: Vec<_> = errors.into_iter().cloned().collect();
        let text = kiln_dockerfile::render(source, &errors, true);
        return Err(Failure::rendered(Class::Check, text));
    }
    match warnings.is_empty() || call.status == CallStatus::Ignored {
        true => Ok(()),
        false => Err(Failure::silent(Class::Check)),
    }
}

fn json_of(
    source: &SourceFile,
    places: &Places<'_>,
    warnings: &[&Diagnostic],
    errors: &[&Diagnostic],
) -> Value {
    let warnings: Vec<_> = warnings
        .iter()
        .map(|finding| warning(places, finding))
        .collect();
    let file = object([
        ("filename", json!(source.name())),
        ("language", json!("Dockerfile")),
        ("data", data(source)),
    ]);
    let mut answer = json!({ "warnings": warnings, "sources": [file] });
    if let Some(error) = errors.first() {
        let location = places.lines(error).map(|lines| location(&lines));
        answer["buildError"] = json!({
            "message": error.message,
            "location": location.unwrap_or_else(|| json!({})),
        });
    }
    answer
}

fn warning(places: &Places<'_>, finding: &Diagnostic) -> Value {
    let rule = rule_named(finding.code.0);
    // What is not about the file has no place in the sources.
    let nowhere = || json!({ "sourceIndex": -1 });
    let location = places.lines(finding).map(|lines| location(&lines));
    object([
        ("ruleName", json!(finding.code.0)),
        ("description", json!(rule.map(|rule| rule.description))),
        ("url", json!(rule.and_then(|rule| rule.url()))),
        ("detail", json!(finding.message)),
        ("location", location.unwrap_or_else(nowhere)),
    ])
}

fn text_of(
    source: &SourceFile,
    places: &Places<'_>,
    warnings: &[&Diagnostic],
    is_whole: bool,
) -> String {
    let mut text = match warnings.len() {
        0 if is_whole => "Check complete, no warnings found.\n".to_owned(),
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    let mut located: Vec<_> = warnings
        .iter()
        .map(|finding| (places.lines(finding), finding))
        .collect();
    located.sort_by_key(|(lines, _)| lines.as_ref().map(|lines| *lines.start()));
    for (lines, finding) in located {
        let url = rule_named(finding.code.0).and_then(|rule| rule.url());
        let url = url.map(|url| format!(" - {url}")).unwrap_or_default();
        let excerpt = lines
            .map(|lines| excerpt(source, &lines))
            .unwrap_or_default();
        text.push_str(&format!(
            "\nWARNING: {}{url}\n{}\n{excerpt}",
            finding.code, finding.message
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_dockerfile::{CompileOptions, ImageResolver, ResolveError, ResolvedBase, compile};
    use kiln_oci::{Platform, Reference};

    struct NoImages;

    impl ImageResolver for NoImages {
        fn resolve(&self, _: &Reference, _: &Platform) -> Result<ResolvedBase, ResolveError> {
            Err("manifest unknown".into())
        }
    }

    fn found(text: &str) -> (SourceFile, Vec<Diagnostic>) {
        let source = SourceFile::new("Dockerfile", text);
        let compiled = compile(&source, &CompileOptions::default(), &NoImages);
        (source, findings(compiled).0)
    }

    #[test]
    fn warnings_are_shown_with_their_lines() {
        let (source, findings) = found("FROM scratch\nCMD a\n");
        let warnings: Vec<_> = findings.iter().collect();
        let text = text_of(&source, &Places::of(&source), &warnings, true);
        let expected = "\
Check complete, 1 warning has been found!

WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
Dockerfile:2
--------------------
   1 |     FROM scratch
   2 | >>> CMD a
   3 |     \n--------------------
";
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_found_is_said() {
        let (source, findings) = found("FROM scratch\n");
        assert!(findings.is_empty());
        let text = text_of(&source, &Places::of(&source), &[], true);
        assert_eq!(text, "Check complete, no warnings found.\n");
    }

    #[test]
    fn warnings_and_error_are_json_with_the_custom_names() {
        let (source, findings) = found("FROM scratch AS Up\nCOPY a \\\n\n/\nBADCMD\n");
        let (error, warnings) = findings.split_last().expect("findings");
        let warnings: Vec<_> = warnings.iter().collect();
        let answer = json_of(&source, &Places::of(&source), &warnings, &[error]);
        let place = |line: usize| json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
        let address = "https://docs.docker.com/go/dockerfile/rule/";
        let expected = json!([
            {
                "ruleName": "StageNameCasing",
                "description": "Stage names should be lowercase",
                "url": format!("{address}stage-name-casing/"),
                "detail": "Stage name 'Up' should be lowercase",
                "location": place(1),
            },
            {
                "ruleName": "NoEmptyContinuation",
                "description": "Empty continuation lines will become errors in a future release",
                "url": format!("{address}no-empty-continuation/"),
                "detail": "Empty continuation line",
                "location": place(4),
            },
        ]);
        assert_eq!(answer["warnings"], expected);
        assert_eq!(answer["sources"][0]["filename"], "Dockerfile");
        assert_eq!(answer["sources"][0]["language"], "Dockerfile");
        assert_eq!(answer["buildError"]["location"], place(5));
        assert_eq!(
            answer["buildError"]["message"],
            "unknown instruction `BADCMD`"
        );
    }
}
