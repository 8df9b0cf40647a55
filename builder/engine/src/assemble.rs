//! From results to images: history and times of the configuration.

use crate::cache::{AbsentLayers, CacheError, INLINE_KEY, Records, inline_document};
use crate::worker::Product;
use crate::{BuildError, BuildRequest, PlannedImage};
use kiln_disk::{LayerId, Store};
use kiln_oci::{DiffId, HistoryEntry, ImageConfig};
use kiln_transfer::image::{self, Image, ImageLayer};

/// The comment of history entries that exist only to match layers.
const FILLER_COMMENT: &str = "kiln.exporter.image.v0";

/// Stores the image that `planned` describes over the layers of `product`, some of which may
/// be absent. `inline` are the records that its configuration is to hold.
pub(crate) fn assemble(
    store: &Store,
    request: &BuildRequest,
    planned: &PlannedImage,
    product: Option<&Product>,
    absent: &AbsentLayers<'_>,
    inline: Option<&Records<'_>>,
) -> Result<Image, BuildError> {
    let stack: &[LayerId] = match product {
        Some(Product::Stack(stack)) => stack,
        Some(Product::Directory(_)) | None => &[],
    };
    let base = planned.config.rootfs.diff_ids.iter().map(Some);
    let (mut layers, mut created) = (Vec::new(), Vec::new());
    for (layer, known) in stack.iter().zip(base.chain(std::iter::repeat(None))) {
        let (described, made) = describe(store, request, layer, known, absent)?;
        layers.push(described);
        created.push(made);
    }
    let mut config = finished_config(planned, &created);
    if let Some(records) = inline {
        let document = inline_document(records, absent, &layers, &created);
        let value = document.and_then(|document| document.to_value());
        config
            .extra
            .insert(INLINE_KEY.to_owned(), value.map_err(inline_failure)?);
    }
    Ok(image::assemble_layers(
        store,
        config,
        layers,
        &request.annotations,
    )?)
}

fn inline_failure(source: CacheError) -> BuildError {
    BuildError::CacheExport {
        cache: "type=inline".to_owned(),
        source: Box::new(source),
    }
}

/// Returns a layer as the image describes it, and when it is said to have been made; of one of
/// the base, `known`, nobody asks. A layer from the cache keeps its time, so that a
/// build that changes nothing gives the same image.
fn describe(
    store: &Store,
    request: &BuildRequest,
    layer: &LayerId,
    known: Option<&DiffId>,
    absent: &AbsentLayers<'_>,
) -> Result<(ImageLayer, i64), BuildError> {
    let times = request.times;
    if let Some(absent) = absent.get(layer) {
        return Ok((
            absent.as_image_layer(),
            times.of_layer(absent.created_seconds()),
        ));
    }
    let latest = times.latest_in_layers();
    let described = image::describe(store, layer, known, latest)?;
    let made = match known {
        Some(_) => 0,
        None => kiln_transfer::layers::facts(store, layer, latest)?.created_seconds,
    };
    Ok((described, times.of_layer(made)))
}

/// Returns the configuration with its history, one entry that is not empty per layer.
///
/// An entry has the time of its layer; entries without one that of the first new layer.
fn finished_config(planned: &PlannedImage, created: &[i64]) -> ImageConfig {
    let mut config = planned.config.clone();
    let mut new = created.iter().skip(config.rootfs.diff_ids.len()).copied();
    let base = config.created.clone().or_else(|| kiln_oci::timestamp(0));
    let first = new.clone().next().and_then(kiln_oci::timestamp).or(base);
    for entry in &planned.history {
        let layer = if entry.empty_layer { None } else { new.next() };
        let created = layer
            .and_then(kiln_oci::timestamp)
            .or_else(|| first.clone());
        config.history.push(HistoryEntry {
            created,
            ..entry.clone()
        });
    }
    reconcile(&mut config.history, created.len());
    config.created = config
        .history
        .last()
        .and_then(|entry| entry.created.clone())
        .or(first);
    config
}

/// Makes as many entries non-empty as there are layers: what is too many becomes empty, from
/// the end; what is missing is added.
fn reconcile(history: &mut Vec<HistoryEntry>, layers: usize) {
    let named = history.iter().filter(|entry| !entry.empty_layer).count();
    let surplus = named.saturating_sub(layers);
    let last = history
        .iter_mut()
        .rev()
        .filter(|entry| !entry.empty_layer)
        .take(surplus);
    last.for_each(|entry| entry.empty_layer = true);
    for _ in named..layers {
        history.push(HistoryEntry {
            comment: Some(FILLER_COMMENT.to_owned()),
            ..HistoryEntry::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(empty: &[bool]) -> Vec<HistoryEntry> {
        let entry = |empty: &bool| HistoryEntry {
            empty_layer: *empty,
            ..HistoryEntry::default()
        };
        empty.iter().map(entry).collect()
    }

    fn emptiness(history: &[HistoryEntry]) -> Vec<bool> {
        history.iter().map(|entry| entry.empty_layer).collect()
    }

    #[test]
    fn history_that_matches_its_layers_is_left_alone() {
        let mut entries = history(&[false, true, false]);
        reconcile(&mut entries, 2);
        assert_eq!(emptiness(&entries), [false, true, false]);
    }

    #[test]
    fn surplus_entries_become_empty_from_the_end() {
        let mut entries = history(&[false, true, false, false]);
        reconcile(&mut entries, 1);
        assert_eq!(emptiness(&entries), [false, true, true, true]);
    }

    #[test]
    fn missing_entries_are_added() {
        let mut entries = history(&[true]);
        reconcile(&mut entries, 2);
        assert_eq!(emptiness(&entries), [true, false, false]);
        assert_eq!(entries[1].comment.as_deref(), Some(FILLER_COMMENT));
    }
}
