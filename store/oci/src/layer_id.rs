//! Identities of layers: by their own archive, and by their place in a stack.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestError};

/// The digest of a layer's uncompressed archive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The identity of a stack of layers, bottom to top.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// Returns the chain id of `diff_ids`, bottom layer first; none for an empty stack.
    ///
    /// `ChainId([d]) = d`; `ChainId([.., d]) = sha256(ChainId(..) + " " + d)`.
    /// Source: image-spec config.md, "Layer ChainID".
    pub fn of(diff_ids: &[DiffId]) -> Option<Self> {
        chain_ids(diff_ids).pop()
    }

    /// Returns the chain id of a stack whose top is `diff_id`, over what `below` names.
    pub fn over(below: Option<&ChainId>, diff_id: &DiffId) -> Self {
        match below {
            None => Self(diff_id.0.clone()),
            Some(below) => Self(Digest::sha256(format!("{below} {diff_id}"))),
        }
    }
}

/// Returns the chain id of every prefix of `diff_ids`: as many as there are layers.
pub fn chain_ids(diff_ids: &[DiffId]) -> Vec<ChainId> {
    let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(ChainId::over(chain.last(), diff_id));
    }
    chain
}

macro_rules! digest_newtype {
    ($name:ident) => {
        impl $name {
            /// Returns the digest.
            pub fn digest(&self) -> &Digest {
                &self.0
            }

            /// Returns the digest's value in lower-case hexadecimal.
            pub fn hex(&self) -> &str {
                self.0.hex()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                text.parse().map(Self)
            }
        }

        impl From<Digest> for $name {
            fn from(digest: Digest) -> Self {
                Self(digest)
            }
        }
    };
}

digest_newtype!(DiffId);
digest_newtype!(ChainId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_id_of_one_layer_is_its_diff_id() {
        let layer = DiffId(Digest::sha256("a"));
        assert_eq!(
            ChainId::of(std::slice::from_ref(&layer)).unwrap().0,
            layer.0
        );
        assert_eq!(ChainId::of(&[]), None);
    }

    #[test]
    fn chain_id_joins_the_chain_below_and_the_diff_id_by_a_space() {
        let [a, b] = ["a", "b"].map(|text| DiffId(Digest::sha256(text)));
        let expected = Digest::sha256(format!("{} {}", a.0, b.0));
        assert_eq!(ChainId::of(&[a.clone(), b.clone()]).unwrap().0, expected);
        assert_eq!(chain_ids(&[a, b]).len(), 2);
    }
}
