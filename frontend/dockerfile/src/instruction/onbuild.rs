//! `ONBUILD INSTRUCTION`.

use super::Instruction;

/// An instruction for the builds that start from this image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger's text, heredocs put back: what the image's config keeps.
    pub trigger: String,
    /// The trigger, parsed.
    pub instruction: Box<Instruction>,
}
