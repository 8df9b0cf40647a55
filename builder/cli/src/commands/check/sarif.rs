//! Findings in SARIF 2.1.0, which code scanners and editors read.
//!
//! Specification: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use super::Checked;
use super::place::Place;
use kiln_dockerfile::lint::{Maturity, RULES, Rule};
use kiln_dockerfile::{Diagnostic, Severity, SourceFile};
use serde_json::{Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

pub fn answer(checked: &[Checked]) -> String {
    format!("{:#}\n", log(checked))
}

fn log(checked: &[Checked]) -> Value {
    let rules: Vec<_> = RULES.iter().map(|rule| descriptor(rule)).collect();
    let results: Vec<_> = checked
        .iter()
        .flat_map(|checked| {
            let source = &checked.source;
            checked
                .findings
                .iter()
                .map(|finding| result(source, finding))
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "kiln",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    let mut descriptor = json!({
        "id": rule.name,
        "name": rule.name,
        "shortDescription": { "text": rule.description },
        "defaultConfiguration": {
            "level": "warning",
            "enabled": rule.maturity == Maturity::Stable,
        },
    });
    if let Some(url) = rule.url() {
        descriptor["helpUri"] = url.into();
    }
    descriptor
}

fn result(source: &SourceFile, finding: &Diagnostic) -> Value {
    let message = match &finding.help {
        Some(help) => format!("{}\n{help}", finding.message),
        None => finding.message.clone(),
    };
    let mut physical = json!({ "artifactLocation": { "uri": uri(source.name()) } });
    if let Some(place) = Place::of(source, finding) {
        physical["region"] = place.region();
    }
    let mut result = json!({
        "ruleId": finding.code.0,
        "level": match finding.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        "message": { "text": message },
        "locations": [{ "physicalLocation": physical }],
    });
    if let Some(index) = RULES.iter().position(|rule| rule.name == finding.code.0) {
        result["ruleIndex"] = index.into();
    }
    let related = related(source, finding);
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    result
}

/// Returns the places that explain the finding.
fn related(source: &SourceFile, finding: &Diagnostic) -> Vec<Value> {
    let others = finding.labels.iter().enumerate().skip(1);
    let locations = others.map(|(id, label)| {
        json!({
            "id": id,
            "message": { "text": label.text },
            "physicalLocation": {
                "artifactLocation": { "uri": uri(source.name()) },
                "region": Place::of_span(source, label.span).region(),
            },
        })
    });
    locations.collect()
}

/// Returns `path` as a relative reference: bytes that mean something else there are escaped.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_dockerfile::{Code, Span};

    #[test]
    fn finding_is_a_result_with_its_region() {
        let source = SourceFile::new("./dir name/Dockerfile", "FROM ä\nCMD b\n");
        let findings = vec![
            Diagnostic::warning(Code("JSONArgsRecommended"), Span::new(8, 13), "a message")
                .with_label(Span::new(0, 4), "see here"),
            Diagnostic::error(Code("Broken"), Span::new(5, 7), "b").with_help("c"),
        ];
        let log = log(&[Checked { source, findings }]);
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
        assert_eq!(rules.len(), RULES.len());
        let first = &run["results"][0];
        let rule = &rules[first["ruleIndex"].as_u64().expect("an index") as usize];
        assert_eq!(rule["id"], first["ruleId"]);
        let expected = json!({
            "physicalLocation": {
                "artifactLocation": { "uri": "dir%20name/Dockerfile" },
                "region": { "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 6 },
            },
        });
        assert_eq!(first["locations"], json!([expected]));
        assert_eq!(first["relatedLocations"][0]["message"]["text"], "see here");
        let second = &run["results"][1];
        assert_eq!(
            (&second["level"], &second["message"]["text"]),
            (&json!("error"), &json!("b\nc"))
        );
        assert_eq!(second.get("ruleIndex"), None);
        let region = &second["locations"][0]["physicalLocation"]["region"];
        assert_eq!(
            (&region["startColumn"], &region["endColumn"]),
            (&json!(6), &json!(7))
        );
    }
}
