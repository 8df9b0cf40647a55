//! `--call outline`: what the target takes.

use super::json::{data, location, object, print};
use super::table::{row, table};
use crate::arguments::{Call, CallFormat};
use kiln_dockerfile::{Outline, OutlineArgument, OutlineMount, SourceFile};
use serde_json::{Value, json};

pub fn answer(call: &Call, source: &SourceFile, outline: &Outline) {
    match call.format {
        CallFormat::Json => print(&json_of(outline, source)),
        CallFormat::Text => crate::output::write(format_args!("{}", text_of(outline))),
    }
}

fn json_of(outline: &Outline, source: &SourceFile) -> Value {
    let all = |mounts: &[OutlineMount]| mounts.iter().map(mount).collect::<Vec<_>>();
    let arguments: Vec<_> = outline.arguments.iter().map(argument).collect();
    object([
        ("name", json!(outline.name)),
        ("description", json!(outline.description)),
        ("args", json!(arguments)),
        ("secrets", json!(all(&outline.secrets))),
        ("ssh", json!(all(&outline.agents))),
        ("sources", json!([data(source)])),
    ])
}

fn argument(argument: &OutlineArgument) -> Value {
    object([
        ("name", json!(argument.name)),
        ("description", json!(argument.description)),
        ("value", json!(argument.value)),
        ("location", location(&argument.lines)),
    ])
}

fn mount(mount: &OutlineMount) -> Value {
    object([
        ("name", json!(mount.id)),
        ("required", json!(mount.required)),
        ("location", location(&mount.lines)),
    ])
}

fn text_of(outline: &Outline) -> String {
    let mut text = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        let mut rows = vec![row(["TARGET:", name])];
        if let Some(description) = &outline.description {
            rows.push(row(["DESCRIPTION:", description]));
        }
        text.push_str(&block(&rows, 1));
    }
    if !outline.arguments.is_empty() {
        let mut rows = vec![row(["BUILD ARG", "VALUE", "DESCRIPTION"])];
        rows.extend(outline.arguments.iter().map(|argument| {
            let value = argument.value.as_deref().unwrap_or_default();
            let description = argument.description.as_deref().unwrap_or_default();
            row([argument.name.as_str(), value, description])
        }));
        text.push_str(&block(&rows, 3));
    }
    text.push_str(&mounts("SECRET", &outline.secrets));
    text.push_str(&mounts("SSH", &outline.agents));
    text
}

fn mounts(title: &str, mounts: &[OutlineMount]) -> String {
    if mounts.is_empty() {
        return String::new();
    }
    let mut rows = vec![row([title, "REQUIRED"])];
    rows.extend(mounts.iter().map(|mount| {
        let required = if mount.required { "true" } else { "" };
        row([mount.id.as_str(), required])
    }));
    block(&rows, 3)
}

/// Returns a table and the empty line after it.
fn block(rows: &[Vec<String>], gap: usize) -> String {
    format!("{}\n", table(rows, gap))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline() -> Outline {
        Outline {
            name: Some("release".to_owned()),
            description: Some("is what is shipped".to_owned()),
            arguments: vec![OutlineArgument {
                name: "VERSION".to_owned(),
                value: Some("1".to_owned()),
                description: None,
                lines: 1..=1,
            }],
            secrets: vec![OutlineMount {
                id: "token".to_owned(),
                required: true,
                lines: 4..=5,
            }],
            agents: vec![OutlineMount {
                id: "default".to_owned(),
                required: false,
                lines: 4..=5,
            }],
        }
    }

    #[test]
    fn outline_is_a_table_for_each_kind() {
        let expected = "\
TARGET:      release
DESCRIPTION: is what is shipped

BUILD ARG   VALUE   DESCRIPTION
VERSION     1       \n
SECRET   REQUIRED
token    true

SSH       REQUIRED
default   \n
";
        assert_eq!(text_of(&outline()), expected);
        assert_eq!(text_of(&Outline::default()), "");
    }

    #[test]
    fn outline_is_json_with_the_custom_names() {
        let source = SourceFile::new("Dockerfile", "FROM a\n");
        let place = |start: usize, end: usize| json!({ "ranges": [{ "start": { "line": start }, "end": { "line": end } }] });
        let expected = json!({
            "name": "release",
            "description": "is what is shipped",
            "args": [{ "name": "VERSION", "value": "1", "location": place(1, 1) }],
            "secrets": [{ "name": "token", "required": true, "location": place(4, 5) }],
            "ssh": [{ "name": "default", "location": place(4, 5) }],
            "sources": ["RlJPTSBhCg=="],
        });
        assert_eq!(json_of(&outline(), &source), expected);
    }
}
