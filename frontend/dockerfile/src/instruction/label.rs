//! `LABEL KEY=VALUE…` and the old `LABEL KEY VALUE`.

use super::KeyValue;

/// Labels of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The labels, in order.
    pub pairs: Vec<KeyValue>,
    /// Whether it is in the form without `=`.
    pub is_legacy: bool,
}
