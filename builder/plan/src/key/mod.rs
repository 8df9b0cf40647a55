//! Cache keys: what an operation and its inputs come to, as a digest of canonical bytes.
//!
//! The bytes are a format: two builds that agree on them share results, so a change of their
//! layout is a new [`KEY_VERSION`]. Left out is what cannot change a result or must not be
//! seen: vertex ids, sources and exclusions of copies (the *selector* or the content stands
//! for them), addresses of extra hosts, proxy variables, names of cache directories, values of
//! secrets, limits on memory and processors.

mod bytes;
mod op;

use crate::{InputUse, Op};
use bytes::Encoder;
use kiln_oci::Digest;
use std::fmt;

/// Version of the layout of the canonical bytes.
pub const KEY_VERSION: u32 = 2;

/// What a result is recorded under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// Returns the key that `digest` stands for: one read back from a record.
    pub fn from_digest(digest: Digest) -> Self {
        CacheKey(digest)
    }

    /// Returns the digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What stands for one input in a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InputKey {
    /// Key of the input's result; the selector is added where only some files are read.
    Result(CacheKey),
    /// Digest of the content that is selected of the input.
    Content(Digest),
}

/// Returns the definition key of `op`: known before anything runs.
///
/// `inputs` has, for each of [`Op::inputs`], the definition key of that vertex, or the digest
/// of the selected content for one that is not pinned. Panics when the lengths differ.
pub fn definition_key(op: &Op, inputs: &[InputKey]) -> CacheKey {
    key(op, inputs)
}

/// Returns the content key of `op`: known once its inputs are there.
///
/// `inputs` has, for each of [`Op::inputs`], the digest of the selected content where
/// [`Op::reads`] says so, else the canonical key of the input's result. The layout is that of
/// [`definition_key`], so an operation that reads no files of inputs whose canonical keys are
/// their definition keys has one key, not two. Panics when the lengths differ.
pub fn content_key(op: &Op, inputs: &[InputKey]) -> CacheKey {
    key(op, inputs)
}

/// Returns the canonical bytes of `op` alone, without its inputs.
pub fn canonical_bytes(op: &Op) -> Vec<u8> {
    let mut encoder = Encoder::new(KEY_VERSION);
    op::encode(op, &mut encoder);
    encoder.finish()
}

fn key(op: &Op, inputs: &[InputKey]) -> CacheKey {
    let uses = op.input_uses();
    assert_eq!(uses.len(), inputs.len(), "one key for each input");
    let mut encoder = Encoder::new(KEY_VERSION);
    op::encode(op, &mut encoder);
    encoder.list(uses.iter().zip(inputs), |encoder, (input_use, input)| {
        encode_input(encoder, input_use, input);
    });
    CacheKey(Digest::sha256(encoder.finish()))
}

fn encode_input(encoder: &mut Encoder, input_use: &InputUse, input: &InputKey) {
    match (input, input_use) {
        (InputKey::Result(key), InputUse::Base) => {
            encoder.tag("result");
            encoder.text(&key.to_string());
        }
        (InputKey::Result(key), InputUse::Content { selector }) => {
            encoder.tag("selected");
            encoder.text(&key.to_string());
            encoder.texts(&selector.paths);
            encoder.flag(selector.patterns);
            encoder.flag(selector.parents);
            encoder.texts(&selector.exclude);
        }
        (InputKey::Content(digest), _) => {
            encoder.tag("content");
            encoder.text(&digest.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
