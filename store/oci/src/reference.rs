//! Names of images, normalised as Docker does it.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference as Parsed;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;

/// A full image name: registry, repository and a tag, a digest, or both.
///
/// `alpine` is `docker.io/library/alpine:latest`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name {text:?}: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: String,
}

const DEFAULT_REGISTRY: &str = "docker.io";
const OFFICIAL: &str = "library/";

impl Reference {
    /// Returns the registry's host, with its port if one is named.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository inside the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the same name pinned to `digest`; the tag stays.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Returns the same repository under `tag`, without a digest.
    ///
    /// Errors: `tag` is not 1 to 128 letters, digits, `_`, `.` and `-` that begin with a letter, a
    /// digit or `_`.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        format!("{}:{tag}", self.name()).parse()
    }

    /// Returns registry and repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns the name as people write it: without the default registry, `library/`, `:latest`.
    pub fn familiar(&self) -> String {
        let name = match (
            self.registry.as_str(),
            self.repository.strip_prefix(OFFICIAL),
        ) {
            (DEFAULT_REGISTRY, Some(short)) if !short.contains('/') => short.to_owned(),
            (DEFAULT_REGISTRY, _) => self.repository.clone(),
            _ => self.name(),
        };
        match (&self.tag, &self.digest) {
            (tag, Some(digest)) => format!("{name}{}@{digest}", suffix(tag.as_deref())),
            (Some(tag), None) if tag != "latest" => format!("{name}:{tag}"),
            _ => name,
        }
    }
}

fn suffix(tag: Option<&str>) -> String {
    tag.map(|tag| format!(":{tag}")).unwrap_or_default()
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |reason: String| ReferenceError {
            text: text.to_owned(),
            reason,
        };
        let parsed: Parsed = text.parse().map_err(|error| refuse(format!("{error}")))?;
        if parsed
            .repository()
            .bytes()
            .any(|byte| byte.is_ascii_uppercase())
        {
            return Err(refuse("repository names are lower-case".to_owned()));
        }
        let digest = parsed.digest().map(Digest::from_str).transpose();
        Ok(Self {
            registry: parsed.registry().to_ascii_lowercase(),
            repository: parsed.repository().to_owned(),
            tag: parsed.tag().map(str::to_owned),
            digest: digest.map_err(|error| refuse(error.to_string()))?,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.name(), suffix(self.tag()))?;
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Reference({self})")
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_become_full_ones_and_back() {
        let cases = [
            ("alpine", "docker.io/library/alpine:latest", "alpine"),
            (
                "alpine:3.20",
                "docker.io/library/alpine:3.20",
                "alpine:3.20",
            ),
            ("user/app", "docker.io/user/app:latest", "user/app"),
            (
                "localhost:5000/a/b",
                "localhost:5000/a/b:latest",
                "localhost:5000/a/b",
            ),
            (
                "index.docker.io/library/x:1",
                "docker.io/library/x:1",
                "x:1",
            ),
            (
                "REG.example:5000/x",
                "reg.example:5000/x:latest",
                "reg.example:5000/x",
            ),
        ];
        for (text, full, familiar) in cases {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
        }
    }

    #[test]
    fn digest_and_tag_are_kept_together() {
        let reference: Reference = format!("a:1@sha256:{HEX}").parse().unwrap();
        assert_eq!(
            (reference.tag(), reference.digest().unwrap().hex()),
            (Some("1"), HEX)
        );
        assert_eq!(reference.familiar(), format!("a:1@sha256:{HEX}"));
        let retagged = reference.with_tag("2").unwrap();
        assert_eq!(retagged.to_string(), "docker.io/library/a:2");
        assert!(reference.with_tag("a b").is_err());
    }

    #[test]
    fn malformed_names_are_refused() {
        let short = format!("a@sha256:{}", &HEX[1..]);
        let cases = [
            "",
            "UPPER",
            "Upper/a",
            "a:",
            "a@sha256:../../x",
            "a b",
            "-a",
            "a@md5:00",
            short.as_str(),
        ];
        for text in cases {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
