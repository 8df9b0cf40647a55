//! `kiln history`: how an image was made, latest step first.

use super::images::{shown_time, since};
use crate::arguments::{GlobalArguments, HistoryArguments};
use crate::error::Failure;
use crate::listing::{Column, Columns, list, size};
use crate::lookup::{self, short};
use crate::session::{Session, optional_platform};
use jiff::Timestamp;
use kiln_engine::disk::Store;
use kiln_oci::HistoryEntry;
use kiln_transfer::image::{Image, ImageLayer};
use serde_json::{Value, json};

const KNOWN: &[Column] = &[
    column("ID", "LAYER"),
    column("CreatedSince", "CREATED"),
    column("CreatedAt", "CREATED AT"),
    column("CreatedBy", "CREATED BY"),
    column("Size", "SIZE"),
    column("Comment", "COMMENT"),
    column("DiffId", "DIFF ID"),
];

const fn column(field: &'static str, title: &'static str) -> Column {
    Column { field, title }
}

/// What instructions are cut to.
const SHOWN_CHARACTERS: usize = 45;
const MISSING: &str = "<missing>";

pub fn run(global: &GlobalArguments, arguments: &HistoryArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let platform = optional_platform(arguments.platform.as_deref())?;
    let found = lookup::find(&session.store, &arguments.name)?;
    let image = found.image(&session.store, platform.as_ref())?;
    let rows = rows(&session.store, &image, arguments);
    if arguments.quiet && arguments.format.is_none() {
        for row in &rows {
            crate::output::say!("{}", row["ID"].as_str().unwrap_or(MISSING));
        }
        return Ok(());
    }
    let created = match arguments.human {
        true => "CreatedSince",
        false => "CreatedAt",
    };
    let columns = Columns {
        known: KNOWN,
        usual: vec!["ID", created, "CreatedBy", "Size", "Comment"],
    };
    let text = list(arguments.format.as_deref(), &columns, &rows)?;
    crate::output::write(format_args!("{text}"));
    Ok(())
}

/// Layers that the history does not tell of come on top, with nothing said of them.
fn rows(store: &Store, image: &Image, arguments: &HistoryArguments) -> Vec<Value> {
    let mut layers = image.layers.iter();
    let mut rows = Vec::new();
    for entry in &image.config.history {
        let layer = match entry.empty_layer {
            true => None,
            false => layers.next(),
        };
        rows.push(row(store, Some(entry), layer, arguments));
    }
    rows.extend(layers.map(|layer| row(store, None, Some(layer), arguments)));
    rows.reverse();
    rows
}

fn row(
    store: &Store,
    entry: Option<&HistoryEntry>,
    layer: Option<&ImageLayer>,
    arguments: &HistoryArguments,
) -> Value {
    let created = entry.and_then(|entry| entry.created.as_deref());
    let created = created.and_then(|text| text.parse::<Timestamp>().ok());
    let said = |text: fn(&HistoryEntry) -> &Option<String>| {
        entry
            .and_then(|entry| text(entry).clone())
            .unwrap_or_default()
    };
    let created_by = said(|entry| &entry.created_by);
    let bytes = layer.map_or(0, |layer| bytes_of(store, layer));
    let diff_id = layer.map(|layer| layer.diff_id.digest());
    json!({
        "ID": diff_id.map_or_else(|| MISSING.to_owned(), |digest| match arguments.no_trunc {
            true => digest.to_string(),
            false => short(digest),
        }),
        "CreatedSince": created.map_or_else(|| "N/A".to_owned(), since),
        "CreatedAt": created.map_or_else(|| "N/A".to_owned(), shown_time),
        "CreatedBy": match arguments.no_trunc {
            true => one_line(&created_by),
            false => cut(&one_line(&created_by)),
        },
        "Size": match arguments.human {
            true => size(bytes),
            false => bytes.to_string(),
        },
        "Comment": said(|entry| &entry.comment),
        "DiffId": diff_id.map(ToString::to_string),
    })
}

fn bytes_of(store: &Store, layer: &ImageLayer) -> u64 {
    let facts = layer.layer.as_ref();
    let facts = facts.and_then(|layer| store.layers().facts(layer).ok().flatten());
    facts.map_or(0, |facts| facts.uncompressed_size)
}

/// Instructions may have several lines, and tabs are between columns.
fn one_line(text: &str) -> String {
    crate::progress::sanitized(&text.replace(['\n', '\t'], " "))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.to_owned();
    }
    let cut: String = text.chars().take(SHOWN_CHARACTERS - 1).collect();
    cut + "…"
}
