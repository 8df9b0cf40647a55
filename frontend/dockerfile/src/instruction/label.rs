//! `LABEL KEY=VALUE…` and the old `LABEL KEY VALUE`.

use super::env::key_values;
use super::{KeyValue, Line};
use crate::diagnostic::Diagnostic;

/// Labels of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The labels, in order.
    pub pairs: Vec<KeyValue>,
    /// Whether it is in the form without `=`.
    pub is_legacy: bool,
}

impl Label {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        let (pairs, is_legacy) = key_values(&mut line)?;
        Ok(Self { pairs, is_legacy })
    }
}
