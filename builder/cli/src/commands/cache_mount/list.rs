//! `kiln cache-mount ls`: a table of the cache mounts.

use crate::arguments::CacheMountListArguments;
use crate::error::Failure;
use crate::filters::{self, Filter, Operator};
use crate::listing::{Column, Columns, list};
use crate::progress::{ago, size};
use crate::quantity;
use crate::table::Table;
use kiln_engine::disk::{CacheMount, Store};
use serde_json::{Value, json};

pub fn run(store: &Store, arguments: &CacheMountListArguments) -> Result<(), Failure> {
    let mut mounts = super::mounts(store)?;
    for text in &arguments.filter {
        let filter = filters::split(text)?;
        let mut kept = Vec::new();
        for mount in mounts {
            if meets(&mount, text, &filter)? {
                kept.push(mount);
            }
        }
        mounts = kept;
    }
    match (arguments.quiet, arguments.format.as_str()) {
        (true, _) => mounts
            .iter()
            .for_each(|mount| crate::output::say!("{}", mount.name)),
        (_, "table") => print_table(&mounts),
        (_, format) => {
            let columns = Columns {
                known: KNOWN,
                usual: Vec::new(),
            };
            let rows: Vec<Value> = mounts.iter().map(row).collect();
            let text = list(Some(format), &columns, &rows)?;
            crate::output::write(format_args!("{text}"));
        }
    }
    Ok(())
}

fn meets(mount: &CacheMount, text: &str, filter: &Filter<'_>) -> Result<bool, Failure> {
    let facts = mount.facts.as_ref();
    let id = facts.map_or("", |facts| facts.key.id.as_str());
    let sharing = facts.map_or("", |facts| facts.sharing.as_str());
    let value = filter.value;
    Ok(match (filter.key, filter.operator) {
        ("id", Operator::Is) => id == value,
        ("id", Operator::IsNot) => id != value,
        ("id", Operator::Contains) => id.contains(value),
        ("name", Operator::Is) => mount.name.starts_with(value),
        ("sharing", Operator::Is) => sharing == value,
        ("sharing", Operator::IsNot) => sharing != value,
        ("inuse", Operator::Is) => mount.is_in_use == filters::truth(value)?,
        ("until", Operator::Is) => {
            let least = filters::age(value)?;
            let age = quantity::now().saturating_sub(mount.used_seconds);
            u64::try_from(age).is_ok_and(|age| age >= least.as_secs())
        }
        _ => {
            let message = format!("unknown filter `{text}`");
            let hint = "filters are id=, name=, sharing=, inuse= and until=";
            return Err(Failure::usage(message).with_hint(hint));
        }
    })
}

fn print_table(mounts: &[CacheMount]) {
    let now = quantity::now();
    let titles = [
        "ID",
        "NAME",
        "SIZE",
        "SHARING",
        "USES",
        "LAST USED",
        "IN USE",
    ];
    let mut table = Table::new(titles);
    for mount in mounts {
        let facts = mount.facts.as_ref();
        let told = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.add([
            told(facts.map(|facts| facts.key.id.escape_default().to_string())),
            super::super::du::short(&mount.name),
            size(mount.usage.bytes),
            told(facts.map(|facts| facts.sharing.as_str().to_owned())),
            told(facts.map(|facts| facts.uses.to_string())),
            ago(mount.used_seconds, now),
            if mount.is_in_use { "yes" } else { "no" }.to_owned(),
        ]);
    }
    crate::output::write(format_args!("{table}"));
}

const KNOWN: &[Column] = &[
    column("id", "ID"),
    column("name", "NAME"),
    column("mode", "MODE"),
    column("uid", "UID"),
    column("gid", "GID"),
    column("sharing", "SHARING"),
    column("uses", "USES"),
    column("created_seconds", "CREATED"),
    column("last_used_seconds", "LAST USED"),
    column("size_bytes", "SIZE"),
    column("inodes", "INODES"),
    column("directories", "DIRECTORIES"),
    column("in_use", "IN USE"),
];

const fn column(field: &'static str, title: &'static str) -> Column {
    Column { field, title }
}

/// Returns the fields that JSON and templates know.
fn row(mount: &CacheMount) -> Value {
    let facts = mount.facts.as_ref();
    json!({
        "id": facts.map(|facts| &facts.key.id),
        "name": mount.name,
        "mode": facts.map(|facts| format!("{:04o}", facts.key.mode)),
        "uid": facts.map(|facts| facts.key.uid),
        "gid": facts.map(|facts| facts.key.gid),
        "sharing": facts.map(|facts| facts.sharing.as_str()),
        "uses": facts.map(|facts| facts.uses),
        "created_seconds": facts.map(|facts| facts.created_seconds),
        "last_used_seconds": mount.used_seconds,
        "size_bytes": mount.usage.bytes,
        "inodes": mount.usage.inodes,
        "directories": mount.directories,
        "in_use": mount.is_in_use,
    })
}
