//! Names of images, normalised as Docker does it.

mod grammar;

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;
use grammar::{Flaw, Parts, check_tag};

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
#[error("invalid image name {text:?}: {flaw}")]
pub struct ReferenceError {
    text: String,
    flaw: Flaw,
}

const DEFAULT_REGISTRY: &str = "docker.io";
const LEGACY_REGISTRY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";

impl Reference {
    /// Whether `text` can be a tag.
    pub fn is_tag(text: &str) -> bool {
        check_tag(text).is_ok()
    }

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
    ///
    /// It is read as the same name again.
    pub fn familiar(&self) -> String {
        let name = self.familiar_name();
        match (&self.tag, &self.digest) {
            (tag, Some(digest)) => format!("{name}{}@{digest}", suffix(tag.as_deref())),
            (Some(tag), None) if tag != "latest" => format!("{name}:{tag}"),
            _ => name,
        }
    }

    fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        match (
            self.repository.strip_prefix(OFFICIAL),
            self.repository.split_once('/'),
        ) {
            (Some(short), _) if !short.contains('/') && !grammar::is_image_id(short) => {
                short.to_owned()
            }
            (_, Some((first, _))) if grammar::is_registry(first) => self.name(),
            _ => self.repository.clone(),
        }
    }
}

fn suffix(tag: Option<&str>) -> String {
    tag.map(|tag| format!(":{tag}")).unwrap_or_default()
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let parts = grammar::parse(text).map_err(|flaw| ReferenceError {
            text: shown(text),
            flaw,
        })?;
        let Parts {
            registry,
            repository,
            tag,
            digest,
        } = parts;
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

/// The most characters of a text that a message repeats.
const SHOWN_CHARACTERS: usize = 160;

/// Returns `text` as messages show it: not too long, and without the user and password of an
/// address that was taken for a name.
fn shown(text: &str) -> String {
    let after_user = match text.rfind('@') {
        Some(at) if text[at..].contains(['/', '.']) => &text[at..],
        _ => text,
    };
    let mut shown: String = after_user.chars().take(SHOWN_CHARACTERS).collect();
    if after_user.len() < text.len() {
        shown.insert(0, '…');
    }
    if after_user.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
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
mod tests;
