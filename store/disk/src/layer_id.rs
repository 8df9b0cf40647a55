//! Names of committed layers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use kiln_oci::ChainId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::random;

/// The name of a committed layer in a store: 64 lower-case hexadecimal digits.
///
/// Opaque. A layer that was unpacked from an image is named by its chain ID, so that
/// others find it; a layer that was built has a random name until somebody asks for more.
/// Stacks are lists of these, and each step has a longer one: copies share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(Arc<str>);

impl LayerId {
    /// Returns a name that nobody has used.
    pub fn random() -> Self {
        Self(random::hexadecimal(32).into())
    }

    /// Returns the name of the layer that ends the chain `chain_id`.
    ///
    /// A chain ID that is no SHA-256 digest is hashed to one.
    pub fn of_chain(chain_id: &ChainId) -> Self {
        let text = chain_id.to_string();
        match text
            .strip_prefix("sha256:")
            .and_then(|hex| hex.parse().ok())
        {
            Some(id) => id,
            None => Self(kiln_oci::Digest::sha256(text.as_bytes()).hex().into()),
        }
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no layer name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a layer name of 64 hexadecimal digits")]
pub struct InvalidLayerId(String);

impl FromStr for LayerId {
    type Err = InvalidLayerId;

    fn from_str(text: &str) -> Result<Self, InvalidLayerId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == 64 && text.bytes().all(is_digit) {
            true => Ok(Self(text.into())),
            false => Err(InvalidLayerId(text.to_owned())),
        }
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LayerId({})", self.0)
    }
}

impl Serialize for LayerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LayerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_id_accepts_only_lower_case_digits_of_full_length() {
        assert!("ab".repeat(32).parse::<LayerId>().is_ok());
        for text in [
            "",
            "..",
            &"AB".repeat(32),
            &"ab".repeat(31),
            &format!("../{}", "a".repeat(61)),
        ] {
            assert!(text.parse::<LayerId>().is_err(), "{text}");
        }
    }

    #[test]
    fn random_layer_ids_differ_and_parse() {
        let (one, two) = (LayerId::random(), LayerId::random());
        assert_ne!(one, two);
        assert_eq!(one.as_str().parse(), Ok(one.clone()));
    }
}
