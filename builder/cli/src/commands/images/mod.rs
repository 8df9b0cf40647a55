//! `kiln images`: the images of the store, as `docker images` lists them.

mod filter;
mod prune;
mod row;

use crate::arguments::{GlobalArguments, ImagesArguments};
use crate::error::{Failure, fail_with_all};
use crate::listing::{Column, Columns, list};
use crate::lookup::{Found, sound_images};
use crate::session::Session;
use filter::Filters;
pub use filter::matches_pattern;
use kiln_engine::disk::{NamedImage, Store};
use kiln_oci::Platform;
use kiln_transfer::images;
pub use prune::run as prune;
use row::Row;
pub use row::{shown_time, since, size_of as shown_size};
use serde_json::Value;
use std::collections::HashSet;

pub fn run(global: &GlobalArguments, arguments: &ImagesArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let store = &session.store;
    let filters = Filters::parse(store, &arguments.filter, arguments.repository.as_deref())?;
    let listed = store.images().list_sound()?;
    let mut rows = rows(
        store,
        listed.images,
        arguments.all || filters.wants_unnamed(),
    )?;
    rows.retain(|row| filters.meets(row));
    match arguments.quiet && arguments.format.is_none() {
        true => print_ids(&rows, arguments.no_trunc),
        false => print_rows(&rows, arguments)?,
    }
    let unread = rows.into_iter().filter_map(|row| row.problem);
    fail_with_all(listed.damaged.into_iter().map(Failure::from).chain(unread))
}

fn print_rows(rows: &[Row], arguments: &ImagesArguments) -> Result<(), Failure> {
    let values: Vec<Value> = rows
        .iter()
        .map(|row| row.value(arguments.no_trunc))
        .collect();
    let text = list(
        arguments.format.as_deref(),
        &columns(arguments.digests, has_foreign(rows)),
        &values,
    )?;
    crate::output::write(format_args!("{text}"));
    Ok(())
}

/// An image with several names is told once.
fn print_ids(rows: &[Row], whole: bool) {
    let mut told = HashSet::new();
    for row in rows {
        let id = row.shown_id(whole);
        if told.insert(id.clone()) {
            crate::output::say!("{id}");
        }
    }
}

fn rows(store: &Store, named: Vec<NamedImage>, with_unnamed: bool) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = named
        .into_iter()
        .map(|named| Row::new(store, Some(named.name), named.target))
        .collect();
    if with_unnamed {
        let unnamed = images::unnamed(store)?.into_iter();
        rows.extend(unnamed.map(|target| Row::new(store, None, target)));
    }
    Ok(rows)
}

/// Returns when the image got its name, or the first of its names.
pub fn time_of(store: &Store, found: &Found) -> Result<Option<String>, Failure> {
    let named = sound_images(store)?;
    let is_meant = |named: &&NamedImage| match &found.name {
        Some(name) => named.name == *name,
        None => named.target.digest == found.target.digest,
    };
    let time = named
        .iter()
        .find(is_meant)
        .map(|named| named.updated_seconds);
    Ok(time.and_then(kiln_oci::timestamp))
}

/// Whether platforms are worth a column.
fn has_foreign(rows: &[Row]) -> bool {
    let host = Platform::host().to_string();
    let mut platforms = rows.iter().flat_map(|row| &row.platforms);
    platforms.any(|platform| *platform != host)
}

const KNOWN: &[Column] = &[
    column("Repository", "REPOSITORY"),
    column("Tag", "TAG"),
    column("Digest", "DIGEST"),
    column("ID", "IMAGE ID"),
    column("Platforms", "PLATFORM"),
    column("CreatedSince", "CREATED"),
    column("CreatedAt", "CREATED AT"),
    column("Size", "SIZE"),
    column("SizeBytes", "SIZE"),
    column("Name", "NAME"),
    column("Labels", "LABELS"),
];

const fn column(field: &'static str, title: &'static str) -> Column {
    Column { field, title }
}

fn columns(with_digests: bool, with_platforms: bool) -> Columns {
    let mut usual = vec!["Repository", "Tag"];
    if with_digests {
        usual.push("Digest");
    }
    usual.push("ID");
    if with_platforms {
        usual.push("Platforms");
    }
    usual.extend(["CreatedSince", "Size"]);
    Columns {
        known: KNOWN,
        usual,
    }
}
