//! What rules found, as buildx has it in a metadata file when `BUILDX_METADATA_WARNINGS` asks
//! for it.
//!
//! Texts and the file are bytes there, so they stand in base 64. `vertex` names the step of the
//! Dockerfile's own reading; here it is the digest of the file.

use crate::commands::call::json::{bytes, data, object};
use kiln_dockerfile::lint::{Places, rule_named};
use kiln_dockerfile::{Diagnostic, Diagnostics, SourceFile};
use kiln_oci::Digest;
use serde_json::{Value, json};

/// Whether the environment asks for warnings: `1`, `true` and the like, as buildx reads it.
pub fn are_asked_for() -> bool {
    let value = std::env::var("BUILDX_METADATA_WARNINGS").unwrap_or_default();
    matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

pub fn list(source: &SourceFile, warnings: &Diagnostics) -> Value {
    let places = Places::of(source);
    let vertex = Digest::sha256(source.bytes()).to_string();
    let warnings = warnings.0.iter();
    warnings
        .map(|warning| entry(source, &places, &vertex, warning))
        .collect()
}

fn entry(source: &SourceFile, places: &Places<'_>, vertex: &str, warning: &Diagnostic) -> Value {
    let rule = rule_named(warning.code.0);
    let lines = places.lines(warning);
    let line = lines
        .as_ref()
        .map(|lines| format!(" (line {})", lines.start()));
    let short = format!(
        "{}: {}{}",
        warning.code,
        warning.message,
        line.unwrap_or_default()
    );
    let detail = rule.map(|rule| bytes(rule.description.as_bytes()));
    let range = lines
        .map(|lines| json!({ "start": { "line": lines.start() }, "end": { "line": lines.end() } }));
    object([
        ("vertex", json!(vertex)),
        ("level", json!(1)),
        ("short", bytes(short.as_bytes())),
        ("detail", detail.into_iter().collect()),
        ("url", json!(rule.and_then(|rule| rule.url()))),
        ("sourceInfo", source_info(source)),
        ("range", range.into_iter().collect()),
    ])
}

fn source_info(source: &SourceFile) -> Value {
    json!({ "filename": source.name(), "data": data(source), "language": "Dockerfile" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_dockerfile::{Code, Span};

    #[test]
    fn warning_has_the_fields_that_buildx_writes() {
        let source = SourceFile::new("Dockerfile", "FROM a as b\n");
        let warning = Diagnostic::warning(Code("FromAsCasing"), Span::default(), "mixed");
        let listed = list(&source, &Diagnostics(vec![warning]));
        let entry = &listed[0];
        assert_eq!(entry["level"], 1);
        assert_eq!(entry["short"], "RnJvbUFzQ2FzaW5nOiBtaXhlZCAobGluZSAxKQ==");
        assert_eq!(
            entry["url"],
            "https://docs.docker.com/go/dockerfile/rule/from-as-casing/"
        );
        assert_eq!(entry["sourceInfo"]["data"], "RlJPTSBhIGFzIGIK");
        assert_eq!(
            entry["range"],
            json!([{ "start": { "line": 1 }, "end": { "line": 1 } }])
        );
        assert_eq!(entry["detail"].as_array().map(Vec::len), Some(1));
    }
}
