//! The items of an inventory, and their sums.

use std::collections::HashMap;
use std::path::Path;

use kiln_oci::Digest;

use super::inventory::{Found, Inventory};
use super::item::{Item, ItemKind, ItemState};
use crate::usage::DiskUsage;
use crate::{CacheMount, CacheMountPurpose, LayerId, LayerOrigin};

/// Everything in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The pieces, layers first, each inode counted once.
    pub items: Vec<Item>,
    /// The store's own files: records, names, locks, unfinished work.
    pub other: DiskUsage,
}

impl Listing {
    /// Returns what the store takes: what the file system gives back when it is deleted.
    pub fn total(&self) -> DiskUsage {
        let mut total: DiskUsage = self.items.iter().map(|item| item.usage).sum();
        total += self.other;
        total
    }

    /// Returns what can be removed.
    pub fn reclaimable(&self) -> DiskUsage {
        let reclaimable = |item: &&Item| item.state == ItemState::Reclaimable;
        let items = self.items.iter().filter(reclaimable);
        items.map(|item| item.usage).sum()
    }
}

/// Returns the items of `inventory`.
pub(super) fn of(inventory: &Inventory) -> Listing {
    let descriptions = descriptions(inventory);
    let layers = inventory.layers.keys();
    let layers = layers.filter_map(|id| layer(inventory, &descriptions, id));
    let blobs = inventory.blobs.keys();
    let blobs = blobs.filter_map(|digest| blob(inventory, digest));
    let mounts = inventory.cache_mounts.iter().map(cache_mount);
    let logs = inventory.logs.iter().map(|(path, found)| log(path, found));
    let indexes = inventory.indexes.iter();
    let indexes = indexes.map(|(path, found)| context_index(path, found));
    Listing {
        items: layers
            .chain(blobs)
            .chain(mounts)
            .chain(logs)
            .chain(indexes)
            .collect(),
        other: inventory.other,
    }
}

/// What made the topmost layer of each result.
pub(super) type Descriptions<'a> = HashMap<&'a LayerId, &'a str>;

pub(super) fn descriptions(inventory: &Inventory) -> Descriptions<'_> {
    let groups = inventory.groups.iter();
    let tops = groups.filter_map(|group| Some((group.layers.last()?, group.description.as_str())));
    tops.collect()
}

pub(super) fn layer(
    inventory: &Inventory,
    descriptions: &Descriptions<'_>,
    id: &LayerId,
) -> Option<Item> {
    let found = inventory.layers.get(id)?;
    let origin = inventory.facts.get(id).map(|facts| &facts.origin);
    let description = match (descriptions.get(id), origin) {
        (Some(description), _) => description,
        (None, Some(LayerOrigin::Unpacked { .. })) => "layer of a pulled image",
        (None, _) => "layer",
    };
    Some(Item {
        kind: ItemKind::Layer,
        id: id.to_string(),
        description: description.to_owned(),
        state: state(found, inventory.named.layers.contains(id)),
        usage: found.usage,
        used_seconds: found.stamp.used_seconds(),
    })
}

pub(super) fn blob(inventory: &Inventory, digest: &Digest) -> Option<Item> {
    let found = inventory.blobs.get(digest)?;
    let layers = inventory.archives.get(digest);
    let is_named = |layer| inventory.named.layers.contains(layer);
    let is_named = inventory.named.blobs.contains(digest)
        || layers.is_some_and(|layers| layers.iter().any(is_named));
    let description = match layers {
        Some(_) => "archive of a pulled layer",
        None => "blob",
    };
    Some(Item {
        kind: ItemKind::Blob,
        id: digest.to_string(),
        description: description.to_owned(),
        state: state(found, is_named),
        usage: found.usage,
        used_seconds: found.stamp.used_seconds(),
    })
}

pub(super) fn cache_mount(mount: &CacheMount) -> Item {
    let facts = mount.facts.as_ref();
    let purpose = facts.map(|facts| facts.key.purpose);
    Item {
        kind: match purpose.unwrap_or_default() {
            CacheMountPurpose::Steps => ItemKind::CacheMount,
            CacheMountPurpose::GitRepository => ItemKind::GitRepository,
        },
        id: mount.name.clone(),
        description: facts.map_or_else(String::new, |facts| facts.key.id.clone()),
        state: match mount.is_in_use {
            true => ItemState::InUse,
            false => ItemState::Reclaimable,
        },
        usage: mount.usage,
        used_seconds: mount.used_seconds,
    }
}

pub(super) fn log(path: &Path, found: &Found) -> Item {
    file_item(ItemKind::Log, "logs of a build", path, found)
}

pub(super) fn context_index(path: &Path, found: &Found) -> Item {
    let description = "index of a build context or fetched file";
    file_item(ItemKind::ContextIndex, description, path, found)
}

fn file_item(kind: ItemKind, description: &str, path: &Path, found: &Found) -> Item {
    let name = path.file_name().unwrap_or_default();
    Item {
        kind,
        id: name.to_string_lossy().into_owned(),
        description: description.to_owned(),
        state: state(found, false),
        usage: found.usage,
        used_seconds: found.stamp.used_seconds(),
    }
}

fn state(found: &Found, is_named: bool) -> ItemState {
    match (found.is_in_use, is_named) {
        (true, _) => ItemState::InUse,
        (false, true) => ItemState::Named,
        (false, false) => ItemState::Reclaimable,
    }
}
