//! What a remote cache says: which keys result in which stack of layers.
//!
//! Stacks share their lower parts, so they are a forest: a node is a layer and the node below.
//! That keeps the document linear in the number of layers and records.

use super::CacheError;
use kiln_oci::{DiffId, Digest, MediaType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The media type of a document: that of the configuration in the cache's manifest.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kiln.cache.config.v1+json";

const VERSION: u32 = 1;

/// The records of a cache, in order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    version: u32,
    /// The layers, in the order of the manifest's.
    pub layers: Vec<DiffId>,
    stacks: Vec<StackNode>,
    pub records: Vec<RecordEntry>,
}

/// A layer of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerEntry {
    /// The digest of its archive.
    pub diff_id: DiffId,
    /// When it was made, in seconds since 1970: steps that give the same may do so at
    /// different times.
    pub created_seconds: i64,
}

/// A stack: one layer upon another stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct StackNode {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<usize>,
    layer: usize,
    created_seconds: i64,
}

/// A layer where it lies in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackedLayer {
    /// Its number among the manifest's layers.
    pub number: usize,
    /// When it was made, in seconds since 1970.
    pub created_seconds: i64,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordEntry {
    /// The keys that it is found under.
    pub keys: Vec<Digest>,
    /// The content key under which it was first recorded.
    pub canonical_key: Digest,
    /// When the step ran, in seconds since 1970.
    pub created_seconds: i64,
    /// What ran, for people.
    pub description: String,
    /// The top of its stack; absent for a result without layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top: Option<usize>,
}

impl Document {
    /// Returns the document that `bytes` are, for a manifest with `layer_count` layers.
    pub fn decode(bytes: &[u8], layer_count: usize) -> Result<Self, CacheError> {
        let malformed = |reason: String| CacheError::Malformed(reason);
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| malformed(format!("its document cannot be read: {error}")))?;
        if document.version != VERSION {
            return Err(malformed(format!(
                "its document has version {}; this version of kiln reads {VERSION}",
                document.version
            )));
        }
        match document.is_consistent(layer_count) {
            true => Ok(document),
            false => Err(malformed("its document contradicts itself".to_owned())),
        }
    }

    /// Whether every number names something, and no stack lies upon itself.
    fn is_consistent(&self, layer_count: usize) -> bool {
        let nodes = self.stacks.iter().enumerate();
        let mut nodes = nodes.map(|(index, node)| {
            node.layer < self.layers.len() && node.below.is_none_or(|below| below < index)
        });
        let mut tops = self.records.iter().filter_map(|record| record.top);
        self.layers.len() == layer_count
            && nodes.all(|good| good)
            && tops.all(|top| top < self.stacks.len())
    }

    /// Returns the bytes of the document.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers: there is nothing that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the document as a part of another one.
    pub fn to_value(&self) -> Result<serde_json::Value, CacheError> {
        serde_json::to_value(self).map_err(|error| CacheError::Malformed(error.to_string()))
    }

    /// Returns the layers of `record`, bottom first.
    pub fn stack(&self, record: &RecordEntry) -> Vec<StackedLayer> {
        let mut layers = Vec::new();
        let mut next = record.top;
        while let Some(node) = next.and_then(|index| self.stacks.get(index)) {
            layers.push(StackedLayer {
                number: node.layer,
                created_seconds: node.created_seconds,
            });
            next = node.below;
        }
        layers.reverse();
        layers
    }

    /// Returns which record each key means.
    pub fn index(&self) -> HashMap<Digest, usize> {
        let records = self.records.iter().enumerate();
        let keys = records
            .flat_map(|(number, record)| record.keys.iter().map(move |key| (key.clone(), number)));
        keys.collect()
    }
}

/// The media type of a document.
pub(crate) fn media_type() -> MediaType {
    MediaType::from(MEDIA_TYPE)
}

/// A document that is being written.
#[derive(Debug, Default)]
pub(crate) struct DocumentBuilder {
    layers: Vec<DiffId>,
    numbers: HashMap<DiffId, usize>,
    stacks: Vec<StackNode>,
    nodes: HashMap<StackNode, usize>,
    /// By canonical key and stack, so that all keys of one result stand together.
    records: BTreeMap<(Digest, Option<usize>), RecordEntry>,
}

impl DocumentBuilder {
    /// Returns a document over exactly `layers`, in this order: one of them may be there twice.
    pub fn over(layers: Vec<DiffId>) -> Self {
        let numbers = layers.iter().enumerate();
        let numbers = numbers.map(|(number, layer)| (layer.clone(), number));
        DocumentBuilder {
            numbers: numbers.collect(),
            layers,
            ..DocumentBuilder::default()
        }
    }

    /// As [`DocumentBuilder::add`], unless `stack` has a layer that is not in the document.
    pub fn add_known(&mut self, record: RecordEntry, stack: &[LayerEntry]) {
        let mut layers = stack.iter();
        if layers.all(|layer| self.numbers.contains_key(&layer.diff_id)) {
            self.add(record, stack);
        }
    }

    /// Adds the result `record` with its `stack`, bottom first, under the record's keys.
    pub fn add(&mut self, record: RecordEntry, stack: &[LayerEntry]) {
        let mut top = None;
        for layer in stack {
            let node = StackNode {
                below: top,
                layer: self.number(&layer.diff_id),
                created_seconds: layer.created_seconds,
            };
            top = Some(self.node(node));
        }
        let name = (record.canonical_key.clone(), top);
        let known = self.records.entry(name).or_insert(RecordEntry {
            keys: Vec::new(),
            top,
            ..record.clone()
        });
        known.keys.extend(record.keys);
        known.keys.sort();
        known.keys.dedup();
    }

    fn number(&mut self, diff_id: &DiffId) -> usize {
        let next = self.layers.len();
        let number = *self.numbers.entry(diff_id.clone()).or_insert(next);
        if number == next {
            self.layers.push(diff_id.clone());
        }
        number
    }

    fn node(&mut self, node: StackNode) -> usize {
        let next = self.stacks.len();
        let number = *self.nodes.entry(node).or_insert(next);
        if number == next {
            self.stacks.push(node);
        }
        number
    }

    /// Returns the document.
    pub fn finish(self) -> Document {
        Document {
            version: VERSION,
            layers: self.layers,
            stacks: self.stacks,
            records: self.records.into_values().collect(),
        }
    }
}

impl RecordEntry {
    /// Returns a record that is found under `keys`, to be given its stack.
    pub fn new(
        keys: Vec<Digest>,
        canonical_key: Digest,
        created_seconds: i64,
        description: String,
    ) -> Self {
        RecordEntry {
            keys,
            canonical_key,
            created_seconds,
            description,
            top: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn layer(text: &str) -> LayerEntry {
        LayerEntry {
            diff_id: DiffId(digest(text)),
            created_seconds: 7,
        }
    }

    fn record(key: &str) -> RecordEntry {
        RecordEntry::new(vec![digest(key)], digest(key), 7, key.to_owned())
    }

    fn sample() -> Document {
        let mut builder = DocumentBuilder::default();
        builder.add(record("base"), &[layer("a")]);
        builder.add(record("left"), &[layer("a"), layer("b")]);
        builder.add(record("right"), &[layer("a"), layer("c")]);
        builder.add(record("nothing"), &[]);
        builder.finish()
    }

    #[test]
    fn records_keep_their_stacks_bottom_first() {
        let document = sample();
        let index = document.index();
        let stack = |key: &str| {
            let stack = document.stack(&document.records[index[&digest(key)]]);
            let numbers = stack.into_iter().map(|layer| layer.number);
            numbers.collect::<Vec<_>>()
        };
        assert_eq!(stack("base"), [0]);
        assert_eq!(stack("left"), [0, 1]);
        assert_eq!(stack("right"), [0, 2]);
        assert_eq!(stack("nothing"), [0usize; 0]);
    }

    #[test]
    fn shared_lower_parts_are_written_once() {
        let document = sample();
        assert_eq!(document.layers.len(), 3);
        assert_eq!(document.stacks.len(), 3);
    }

    #[test]
    fn the_same_layer_keeps_the_time_of_each_step_that_made_it() {
        let later = LayerEntry {
            created_seconds: 8,
            ..layer("a")
        };
        let mut builder = DocumentBuilder::default();
        builder.add(record("first"), &[layer("a")]);
        builder.add(record("second"), &[later]);
        let document = builder.finish();
        assert_eq!(document.layers.len(), 1);
        let times = document.records.iter().map(|record| {
            let stack = document.stack(record);
            (record.description.as_str(), stack[0].created_seconds)
        });
        let mut times: Vec<_> = times.collect();
        times.sort();
        assert_eq!(times, [("first", 7), ("second", 8)]);
    }

    #[test]
    fn keys_of_one_result_share_a_record() {
        let mut builder = DocumentBuilder::default();
        builder.add(record("step"), &[layer("a")]);
        let other = RecordEntry {
            keys: vec![digest("definition")],
            ..record("step")
        };
        builder.add(other, &[layer("a")]);
        let document = builder.finish();
        assert_eq!(document.records.len(), 1);
        assert_eq!(document.records[0].keys.len(), 2);
    }

    #[test]
    fn what_was_written_is_read_again() {
        let document = sample();
        let read = Document::decode(&document.encode(), 3).expect("it is whole");
        assert_eq!(read, document);
    }

    #[test]
    fn a_document_that_names_what_is_not_there_is_refused() {
        let good = String::from_utf8(sample().encode()).expect("JSON is text");
        assert!(Document::decode(good.as_bytes(), 2).is_err());
        for (part, wrong) in [
            ("\"layer\":2", "\"layer\":3"),
            ("\"below\":0", "\"below\":9"),
            ("\"version\":1", "\"version\":2"),
        ] {
            let bad = good.replace(part, wrong);
            assert_ne!(bad, good, "{part} occurs");
            assert!(Document::decode(bad.as_bytes(), 3).is_err(), "{wrong}");
        }
    }
}
