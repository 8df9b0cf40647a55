//! `kiln du`: what takes how much room in the store.

use crate::arguments::{DuArguments, GlobalArguments};
use crate::error::Failure;
use crate::filters;
use crate::listing::{Column, Columns, list};
use crate::lookup::sound_images;
use crate::progress::{ago, size};
use crate::quantity;
use crate::session::Session;
use crate::table::Table;
use kiln_engine::disk::{DiskUsage, Item, ItemState, Listing, meets};
use serde_json::{Value, json};

pub fn run(global: &GlobalArguments, arguments: &DuArguments) -> Result<(), Failure> {
    let filters = filters::parse(&arguments.filter)?;
    let session = Session::open(global)?;
    // It tells of damaged names: what those led to looks as if nobody needed it.
    sound_images(&session.store)?;
    let mut listing = session.store.items()?;
    let now = quantity::now();
    let is_old = |item: &Item| {
        let age = now.saturating_sub(item.used_seconds);
        let least = filters.unused_for.map_or(0, |least| least.as_secs());
        least == 0 || u64::try_from(age).is_ok_and(|age| age >= least)
    };
    listing
        .items
        .retain(|item| meets(item, &filters.items) && is_old(item));
    listing
        .items
        .sort_by_key(|item| std::cmp::Reverse((item.usage.bytes, item.used_seconds)));
    if !arguments.filter.is_empty() {
        listing.other = DiskUsage::default();
    }
    match (arguments.format.as_str(), arguments.verbose) {
        ("json", _) => rows(&listing)
            .iter()
            .for_each(|row| crate::output::say!("{row}")),
        ("table", true) => print_blocks(&listing, now),
        ("table", false) => print_table(&listing, now),
        (format, _) => {
            let columns = Columns {
                known: KNOWN,
                usual: Vec::new(),
            };
            let text = list(Some(format), &columns, &rows(&listing))?;
            crate::output::write(format_args!("{text}"));
        }
    }
    Ok(())
}

fn print_table(listing: &Listing, now: i64) {
    let titles = [
        "ID",
        "TYPE",
        "RECLAIMABLE",
        "SIZE",
        "LAST USED",
        "DESCRIPTION",
    ];
    let mut table = Table::new(titles);
    for item in &listing.items {
        table.add([
            short(&item.id),
            item.kind.to_string(),
            state(item.state).to_owned(),
            size(item.usage.bytes),
            ago(item.used_seconds, now),
            clip(&item.description),
        ]);
    }
    if listing.other.bytes > 0 {
        let other = [
            "-",
            "internal",
            "false",
            &size(listing.other.bytes),
            "-",
            OTHER,
        ];
        table.add(other.map(str::to_owned));
    }
    crate::output::write(format_args!("{table}"));
    print_sums(listing);
}

/// What the store needs for itself.
const OTHER: &str = "records, names, unfinished work";

fn print_sums(listing: &Listing) {
    let (reclaimable, total) = (listing.reclaimable(), listing.total());
    crate::output::say!("Reclaimable:  {}", size(reclaimable.bytes));
    crate::output::say!(
        "Total:        {} in {} inodes",
        size(total.bytes),
        total.inodes
    );
}

fn print_blocks(listing: &Listing, now: i64) {
    for item in &listing.items {
        crate::output::say!("ID:           {}", item.id);
        crate::output::say!("Type:         {}", item.kind);
        crate::output::say!("Reclaimable:  {}", state(item.state));
        crate::output::say!("Size:         {} bytes", item.usage.bytes);
        crate::output::say!("Inodes:       {}", item.usage.inodes);
        crate::output::say!("Last used:    {}", ago(item.used_seconds, now));
        crate::output::say!("Description:  {}\n", item.description);
    }
    print_sums(listing);
}

const KNOWN: &[Column] = &[
    column("id", "ID"),
    column("type", "TYPE"),
    column("reclaimable", "RECLAIMABLE"),
    column("in_use", "IN USE"),
    column("size_bytes", "SIZE"),
    column("inodes", "INODES"),
    column("last_used_seconds", "LAST USED"),
    column("description", "DESCRIPTION"),
];

const fn column(field: &'static str, title: &'static str) -> Column {
    Column { field, title }
}

/// Returns the entries with the fields that JSON and templates know.
fn rows(listing: &Listing) -> Vec<Value> {
    let row = |item: &Item| {
        json!({
            "id": item.id,
            "type": item.kind.as_str(),
            "reclaimable": item.state == ItemState::Reclaimable,
            "in_use": item.state == ItemState::InUse,
            "size_bytes": item.usage.bytes,
            "inodes": item.usage.inodes,
            "last_used_seconds": item.used_seconds,
            "description": item.description,
        })
    };
    let mut rows: Vec<Value> = listing.items.iter().map(row).collect();
    if listing.other.bytes > 0 {
        rows.push(json!({
            "id": "-",
            "type": "internal",
            "reclaimable": false,
            "in_use": false,
            "size_bytes": listing.other.bytes,
            "inodes": listing.other.inodes,
            "last_used_seconds": null,
            "description": OTHER,
        }));
    }
    rows
}

fn state(state: ItemState) -> &'static str {
    match state {
        ItemState::Reclaimable => "true",
        ItemState::InUse => "in use",
        ItemState::Named => "named",
    }
}

/// Returns the part of an ID that tells it from others.
pub fn short(id: &str) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    let is_digest = hex.len() >= 64;
    let length = if is_digest { 12 } else { 40 };
    hex.chars().take(length).collect()
}

/// Returns a description that fits into a line.
fn clip(description: &str) -> String {
    const LONGEST: usize = 60;
    let mut line: String = description
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(LONGEST + 1)
        .collect();
    if line.chars().count() > LONGEST {
        line = line.chars().take(LONGEST - 1).collect();
        line.push('…');
    }
    line
}
