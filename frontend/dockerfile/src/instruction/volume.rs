//! `VOLUME PATH…` or `VOLUME ["PATH", …]`.

use crate::syntax::Word;

/// Paths that a container keeps outside its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The paths, in order.
    pub paths: Vec<Word>,
}
