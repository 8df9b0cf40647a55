//! `--call targets`: which stages can be built.

use super::json::{data, location, object, print};
use super::table::{row, table};
use crate::arguments::{Call, CallFormat};
use kiln_dockerfile::{SourceFile, TargetStage};
use serde_json::{Value, json};

pub fn answer(call: &Call, source: &SourceFile, targets: &[TargetStage]) {
    match call.format {
        CallFormat::Json => {
            let targets: Vec<Value> = targets.iter().map(json_of).collect();
            print(&json!({ "targets": targets, "sources": [data(source)] }));
        }
        CallFormat::Text => crate::output::write(format_args!("{}", text_of(targets))),
    }
}

fn json_of(target: &TargetStage) -> Value {
    object([
        ("name", json!(target.name)),
        ("default", json!(target.is_default)),
        ("description", json!(target.description)),
        ("base", json!(target.base)),
        ("platform", json!(target.platform)),
        ("location", location(&target.lines)),
    ])
}

fn text_of(targets: &[TargetStage]) -> String {
    let mut rows = vec![row(["TARGET", "DESCRIPTION"])];
    for target in targets {
        let name = match (&target.name, target.is_default) {
            (Some(name), true) => format!("{name} (default)"),
            (None, true) => "(default)".to_owned(),
            (name, false) => name.clone().unwrap_or_default(),
        };
        let description = target.description.as_deref().unwrap_or_default();
        rows.push(row([name.as_str(), description]));
    }
    table(&rows, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# build compiles\nFROM --platform=$BUILDPLATFORM a AS build\nFROM build\n";

    fn targets() -> Vec<TargetStage> {
        kiln_dockerfile::targets(&SourceFile::new("Dockerfile", TEXT)).expect("targets")
    }

    #[test]
    fn targets_are_a_table() {
        let expected = "TARGET    DESCRIPTION\nbuild     compiles\n(default) \n";
        assert_eq!(text_of(&targets()), expected);
    }

    #[test]
    fn targets_are_json_with_the_custom_names() {
        let targets: Vec<_> = targets().iter().map(json_of).collect();
        let place = |line: usize| json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
        let expected = [
            json!({
                "name": "build", "description": "compiles", "base": "a",
                "platform": "$BUILDPLATFORM", "location": place(2),
            }),
            json!({ "default": true, "base": "build", "location": place(3) }),
        ];
        assert_eq!(targets, expected);
    }
}
