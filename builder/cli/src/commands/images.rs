//! `kiln images`: a table of the images in the store.

use crate::arguments::{GlobalArguments, ImagesArguments};
use crate::error::Failure;
use crate::session::Session;
use kiln_engine::disk::{NamedImage, Store};
use kiln_oci::Digest;
use kiln_transfer::image::{self, Image};
use serde_json::json;

pub fn run(global: &GlobalArguments, arguments: &ImagesArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let mut images = session.store.images().list()?;
    images.sort_by_key(|image| image.name.to_string());
    match (arguments.quiet, arguments.format.as_str()) {
        (true, _) => images
            .iter()
            .for_each(|image| crate::output::say!("{}", image.name.familiar())),
        (_, "json") => print_json(&session.store, &images),
        _ => print_table(&session.store, &images, arguments.no_trunc),
    }
    Ok(())
}

struct Row {
    name: String,
    platforms: String,
    id: String,
    created: String,
    size_bytes: u64,
}

/// An image that cannot be read is listed all the same, with what is known.
fn row(store: &Store, named: &NamedImage, whole: bool) -> Row {
    let images = image::load_all(store, &named.target).unwrap_or_default();
    let platforms: Vec<String> = images
        .iter()
        .map(|image| image.platform.to_string())
        .collect();
    let id = images.first().map_or(&named.target.digest, |image| {
        &image.config_descriptor.digest
    });
    Row {
        name: named.name.familiar(),
        platforms: platforms.join(","),
        id: if whole { id.to_string() } else { short(id) },
        created: images
            .first()
            .and_then(|image| image.config.created.clone())
            .unwrap_or_default(),
        size_bytes: images.iter().map(|image| size(store, image)).sum(),
    }
}

/// Bytes of the uncompressed layers, as other tools count.
fn size(store: &Store, image: &Image) -> u64 {
    let facts = image.layers.iter().filter_map(|layer| layer.layer.as_ref());
    let facts = facts.filter_map(|layer| store.layers().facts(layer).ok().flatten());
    facts.map(|facts| facts.uncompressed_size).sum()
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

fn print_table(store: &Store, images: &[NamedImage], whole: bool) {
    let rows: Vec<Row> = images
        .iter()
        .map(|image| row(store, image, whole))
        .collect();
    let widest = |column: fn(&Row) -> &str, title: usize| {
        rows.iter()
            .map(|row| column(row).len())
            .max()
            .unwrap_or(0)
            .max(title)
    };
    let name = widest(|row| &row.name, 4);
    let platforms = widest(|row| &row.platforms, 8);
    let id = widest(|row| &row.id, 8);
    crate::output::say!(
        "{:name$}  {:platforms$}  {:id$}  {:20}  SIZE",
        "NAME",
        "PLATFORM",
        "IMAGE ID",
        "CREATED"
    );
    for row in &rows {
        let size = crate::progress::size(row.size_bytes);
        crate::output::say!(
            "{:name$}  {:platforms$}  {:id$}  {:20}  {size}",
            row.name,
            row.platforms,
            row.id,
            row.created
        );
    }
}

fn print_json(store: &Store, images: &[NamedImage]) {
    for image in images {
        let row = row(store, image, true);
        let object = json!({
            "name": image.name.to_string(),
            "digest": image.target.digest.to_string(),
            "id": row.id,
            "platforms": row.platforms,
            "created": row.created,
            "size_bytes": row.size_bytes,
        });
        crate::output::say!("{object}");
    }
}
