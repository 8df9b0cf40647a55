//! One line of `kiln images`.

use crate::error::Failure;
use crate::listing::{ago, size};
use crate::lookup::{image_id, short};
use crate::quantity;
use jiff::Timestamp;
use kiln_engine::disk::Store;
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_transfer::image::Image;
use kiln_transfer::images;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An image with one of its names.
pub struct Row {
    pub name: Option<Reference>,
    pub target: Digest,
    pub id: Digest,
    pub platforms: Vec<String>,
    /// When it was made; unknown when it does not say so.
    pub created: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    /// Why nothing more is known of it.
    pub problem: Option<Failure>,
    size_bytes: u64,
}

impl Row {
    /// An image that cannot be read is listed all the same, with what is known.
    pub fn new(store: &Store, name: Option<Reference>, target: Descriptor) -> Self {
        let (images, problem) = match images::present(store, &target) {
            Ok(images) => (images, None),
            Err(error) => (Vec::new(), Some(Failure::from(error))),
        };
        let first = images.first();
        let created = first.and_then(|image| image.config.created.as_deref());
        Row {
            id: image_id(&target, &images).clone(),
            platforms: images
                .iter()
                .map(|image| image.platform.to_string())
                .collect(),
            created: created.and_then(|created| created.parse().ok()),
            labels: first.map_or_else(BTreeMap::new, |image| image.config.config.labels.clone()),
            problem: problem.map(|problem| {
                let title = name
                    .as_ref()
                    .map_or(target.digest.to_string(), Reference::familiar);
                problem.within(format!("cannot read image {title}"))
            }),
            name,
            size_bytes: images.iter().map(|image| size_of(store, image)).sum(),
            target: target.digest,
        }
    }

    /// Returns the name without tag and digest, as people write it.
    pub fn repository(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        let latest = name.with_tag("latest").ok()?;
        Some(latest.familiar())
    }

    /// Returns the ID as lists show it.
    pub fn shown_id(&self, whole: bool) -> String {
        match whole {
            true => self.id.to_string(),
            false => short(&self.id),
        }
    }

    /// Returns the fields that templates and JSON know.
    pub fn value(&self, whole: bool) -> Value {
        const NONE: &str = "<none>";
        let name = self.name.as_ref();
        let tag = name.and_then(|name| name.tag().filter(|_| name.digest().is_none()));
        let labels = self.labels.iter();
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        json!({
            "ID": self.shown_id(whole),
            "Repository": self.repository().unwrap_or_else(|| NONE.to_owned()),
            "Tag": tag.unwrap_or(NONE),
            "Digest": self.target.to_string(),
            "CreatedSince": self.created.map_or_else(|| "N/A".to_owned(), since),
            "CreatedAt": self.created.map_or_else(|| "N/A".to_owned(), shown_time),
            "Size": size(self.size_bytes),
            "SizeBytes": self.size_bytes,
            "Platforms": self.platforms.join(","),
            "Labels": labels.join(","),
            "Name": name.map_or_else(String::new, ToString::to_string),
        })
    }
}

/// Returns how long ago it was.
pub fn since(time: Timestamp) -> String {
    ago(quantity::now().saturating_sub(time.as_second()))
}

/// Returns a time as Docker prints it, in UTC.
pub fn shown_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// Returns the bytes of the uncompressed layers, as other tools count.
pub fn size_of(store: &Store, image: &Image) -> u64 {
    let facts = image.layers.iter().filter_map(|layer| layer.layer.as_ref());
    let facts = facts.filter_map(|layer| store.layers().facts(layer).ok().flatten());
    facts.map(|facts| facts.uncompressed_size).sum()
}
