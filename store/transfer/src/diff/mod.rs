//! What two images of a store differ in: configuration, layers, files.
//!
//! Files are compared as the archives of the layers have them: times to the second and as they
//! were clamped when the layer was captured, no sockets. What both images have from one layer is
//! not read again.

mod config;
mod files;

use std::path::PathBuf;

use kiln_disk::{LayerId, Store};
use kiln_oci::{DiffId, Digest};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::image::Image;

/// What two images differ in; nothing of it means that they are the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ImageDifference {
    /// Where the configurations differ, apart from the list of layers.
    pub config: Vec<ConfigDifference>,
    /// The layers that differ, by their place.
    pub layers: Vec<LayerDifference>,
    /// The files that differ, in the order of their paths.
    pub files: Vec<FileDifference>,
}

impl ImageDifference {
    /// Whether the images are the same.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.layers.is_empty() && self.files.is_empty()
    }
}

/// A value of the configuration that differs; absent where only the other image has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfigDifference {
    /// Where it stands: `config.Env[2]`.
    pub path: String,
    /// What the first image has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Value>,
    /// What the second image has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Value>,
}

/// Two layers in one place; absent where only the other image has so many.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerDifference {
    /// The place, from 0 at the bottom.
    pub index: usize,
    /// The layer of the first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<LayerSide>,
    /// The layer of the second image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<LayerSide>,
}

/// A layer of one of the images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerSide {
    /// The digest of its uncompressed archive.
    pub diff_id: Digest,
    /// What the history says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// Its path, without a leading `/`; empty for the root.
    pub path: PathBuf,
    /// How it differs.
    #[serde(flatten)]
    pub change: FileChange,
}

/// How a file differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum FileChange {
    /// Only the second image has it.
    Added {
        /// What it is, as a noun.
        kind: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    /// Only the first image has it.
    Removed {
        /// What it is, as a noun.
        kind: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    /// Both have it, not the same.
    Changed {
        /// Each thing that differs.
        aspects: Vec<AspectDifference>,
    },
}

/// One thing in which a file differs. Of content only that it does is told, with the place of
/// the first differing byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AspectDifference {
    /// Which: `type`, `mode`, `owner`, `size`, `content`, `modified`, `target`, `device` or
    /// `xattr NAME`.
    pub aspect: String,
    /// What the first image has, as text; empty for nothing.
    pub first: String,
    /// What the second image has, as text; empty for nothing.
    pub second: String,
}

/// Returns what `first` and `second` differ in. Their layers must be in the store.
///
/// Errors: [`Error::ArchiveMissing`] for a layer that is not here as files.
pub fn diff(store: &Store, first: &Image, second: &Image) -> Result<ImageDifference> {
    diff_between((store, first), (store, second))
}

/// As [`diff`], of images that each lie in a store of their own.
pub fn diff_between(
    (first_store, first): (&Store, &Image),
    (second_store, second): (&Store, &Image),
) -> Result<ImageDifference> {
    let files = match diff_ids(first) == diff_ids(second) {
        true => Vec::new(),
        false => files::compare(
            (first_store, &stack(first)?),
            (second_store, &stack(second)?),
        )?,
    };
    Ok(ImageDifference {
        config: config::compare(&first.config, &second.config),
        layers: layers(first, second),
        files,
    })
}

fn diff_ids(image: &Image) -> Vec<&DiffId> {
    image.layers.iter().map(|layer| &layer.diff_id).collect()
}

/// A layer of one of the images, with what tells which archive of it the image has.
struct StackLayer {
    layer: LayerId,
    diff_id: DiffId,
}

fn stack(image: &Image) -> Result<Vec<StackLayer>> {
    let layer = |one: &crate::image::ImageLayer| {
        let missing = || Error::ArchiveMissing(one.diff_id.clone());
        Ok(StackLayer {
            layer: one.layer.clone().ok_or_else(missing)?,
            diff_id: one.diff_id.clone(),
        })
    };
    image.layers.iter().map(layer).collect()
}

fn layers(first: &Image, second: &Image) -> Vec<LayerDifference> {
    let (first, second) = (sides(first), sides(second));
    let count = first.len().max(second.len());
    let differs = |index: &usize| {
        let diff_id = |side: &[LayerSide]| side.get(*index).map(|one| one.diff_id.clone());
        diff_id(&first) != diff_id(&second)
    };
    let difference = |index: usize| LayerDifference {
        index,
        first: first.get(index).cloned(),
        second: second.get(index).cloned(),
    };
    (0..count).filter(differs).map(difference).collect()
}

fn sides(image: &Image) -> Vec<LayerSide> {
    let history = &image.config.history;
    let mut said = history.iter().filter(|entry| !entry.empty_layer);
    let side = |diff_id: &DiffId| LayerSide {
        diff_id: diff_id.0.clone(),
        created_by: said.next().and_then(|entry| entry.created_by.clone()),
    };
    let diff_ids = image.layers.iter().map(|layer| &layer.diff_id);
    diff_ids.map(side).collect()
}
