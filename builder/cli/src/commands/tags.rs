//! `kiln tags`: the tags of a repository, from its registry.

use super::images::matches_pattern;
use crate::arguments::{GlobalArguments, TagsArguments};
use crate::error::Failure;
use crate::listing::{Column, Columns, list};
use crate::session::{self, parse_reference};
use kiln_engine::registry::Client;
use serde_json::{Value, json};

const KNOWN: &[Column] = &[
    Column {
        field: "Tag",
        title: "TAG",
    },
    Column {
        field: "Repository",
        title: "REPOSITORY",
    },
    Column {
        field: "Name",
        title: "NAME",
    },
];

pub fn run(global: &GlobalArguments, arguments: &TagsArguments) -> Result<(), Failure> {
    let reference = parse_reference(&arguments.repository)?;
    let client = Client::new(session::client_options(global)?)?;
    let mut tags = client.tags(&reference)?;
    if let Some(pattern) = &arguments.filter {
        tags.retain(|tag| matches_pattern(pattern, tag));
    }
    tags.truncate(arguments.limit.unwrap_or(usize::MAX));
    let Some(format) = arguments
        .format
        .as_deref()
        .filter(|format| *format != "text")
    else {
        tags.iter().for_each(|tag| crate::output::say!("{tag}"));
        return Ok(());
    };
    let repository = reference.name();
    let row = |tag: &String| json!({"Tag": tag, "Repository": repository, "Name": format!("{repository}:{tag}")});
    let rows: Vec<Value> = tags.iter().map(row).collect();
    let columns = Columns {
        known: KNOWN,
        usual: vec!["Tag"],
    };
    let text = list(Some(format), &columns, &rows)?;
    crate::output::write(format_args!("{text}"));
    Ok(())
}
