//! Content digests: an algorithm and its value in lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// A digest algorithm of the image specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256: what everybody uses.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Returns the name as it stands before the colon of a digest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The digest of some content: `sha256:<64 hex digits>` or `sha512:<128 hex digits>`.
///
/// Only this exact grammar is accepted, so a digest can be made part of a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: Box<str>,
    algorithm: Algorithm,
}

/// A text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {text:?}: {reason}")]
pub struct DigestError {
    text: String,
    reason: &'static str,
}

impl Digest {
    /// Returns the SHA-256 digest of `bytes`.
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Self {
        Self::from_sha256(Sha256::digest(bytes.as_ref()).into())
    }

    /// Returns the digest whose SHA-256 value is already computed.
    pub fn from_sha256(value: [u8; 32]) -> Self {
        Self::from_value(Algorithm::Sha256, &value)
    }

    /// Returns the digest of `bytes` by `algorithm`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::sha256(bytes),
            Algorithm::Sha512 => Self::from_sha512(Sha512::digest(bytes).into()),
        }
    }

    /// Returns the digest whose SHA-512 value is already computed.
    pub fn from_sha512(value: [u8; 64]) -> Self {
        Self::from_value(Algorithm::Sha512, &value)
    }

    fn from_value(algorithm: Algorithm, value: &[u8]) -> Self {
        let mut text = String::with_capacity(7 + value.len() * 2);
        text.push_str(algorithm.as_str());
        text.push(':');
        for byte in value {
            text.push(char::from(HEX_DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(HEX_DIGITS[usize::from(byte & 15)]));
        }
        let text = text.into_boxed_str();
        Self { text, algorithm }
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the value in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// Returns `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refuse = |reason| DigestError {
            text: shortened(text),
            reason,
        };
        let (name, hex) = text.split_once(':').ok_or_else(|| refuse("no algorithm"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(refuse("unsupported algorithm")),
        };
        if hex.len() != algorithm.hex_length() {
            return Err(refuse("wrong number of digits"));
        }
        if !hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(refuse("not lower-case hexadecimal"));
        }
        Ok(Self {
            text: text.into(),
            algorithm,
        })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(160).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert_eq!(Digest::sha256(b""), EMPTY.parse().unwrap());
        assert_eq!(Digest::sha256(b"").hex(), &EMPTY[7..]);
    }

    #[test]
    fn anything_but_the_exact_grammar_is_refused() {
        let short = &EMPTY[..EMPTY.len() - 1];
        let cases = [
            "",
            "sha256",
            "sha256:",
            short,
            &EMPTY.to_uppercase(),
            &format!("{EMPTY}0"),
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:../../../../etc/passwd",
            &EMPTY.replace("e3", "E3"),
            &format!(" {EMPTY}"),
            &format!("{EMPTY}\n"),
        ];
        for text in cases {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }
}
