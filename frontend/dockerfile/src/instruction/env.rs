//! `ENV KEY=VALUE…` and the old `ENV KEY VALUE`.

use crate::syntax::Word;

/// Environment variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// The variables, in order.
    pub pairs: Vec<KeyValue>,
    /// Whether it is in the form without `=`.
    pub is_legacy: bool,
}

/// A key and its value, both unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Word,
    /// The value; empty for `KEY=`.
    pub value: Word,
}
