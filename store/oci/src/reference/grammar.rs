//! The grammar of image names: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
//!
//! Source: the distribution project's reference grammar, and the rules by which short names
//! become full ones. Two things are stricter than there. A registry's host without dot and
//! port is `localhost` and nothing else: names are kept in lower case, and `Host/a` kept as
//! `host/a` would be another name. A port is one that exists.

use std::net::Ipv6Addr;

use super::{DEFAULT_REGISTRY, LEGACY_REGISTRY, OFFICIAL};
use crate::{Digest, DigestError};

/// The most characters of a repository's path.
const MAX_PATH_CHARACTERS: usize = 255;
/// The most characters of a tag.
const MAX_TAG_CHARACTERS: usize = 128;
/// The most characters of a host's name; the domain name system has no longer ones.
const MAX_HOST_CHARACTERS: usize = 253;

/// What a name consists of, normalised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<Digest>,
}

/// Why a text is no image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("it is empty")]
    Empty,
    #[error("an image name has no `://`")]
    Address,
    #[error("64 hexadecimal digits are an image's ID, not a name")]
    ImageId,
    #[error("repository names are lower-case")]
    UpperCase,
    #[error("a part between slashes is empty")]
    EmptyComponent,
    #[error("{0:?} is not allowed in a repository name")]
    Character(char),
    #[error("`.`, `_`, `__` and dashes may only stand between letters or digits")]
    Separator,
    #[error("the repository name has more than {MAX_PATH_CHARACTERS} characters")]
    LongPath,
    #[error("{0:?} is no host of a registry")]
    Host(String),
    #[error("{0:?} is no port")]
    Port(String),
    #[error("nothing follows the colon: a tag is missing")]
    EmptyTag,
    #[error("a tag has letters, digits, `_`, `.` and `-` and begins with none of the last two")]
    Tag,
    #[error("the tag has more than {MAX_TAG_CHARACTERS} characters")]
    LongTag,
    #[error("{0}")]
    Digest(#[from] DigestError),
}

/// Returns the parts of the name `text`.
pub(super) fn parse(text: &str) -> Result<Parts, Flaw> {
    if text.is_empty() {
        return Err(Flaw::Empty);
    }
    if text.contains("://") {
        return Err(Flaw::Address);
    }
    if is_image_id(text) {
        return Err(Flaw::ImageId);
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = cut_tag(named);
    let (registry, repository) = normalised(name)?;
    check_path(&repository)?;
    tag.map_or(Ok(()), check_tag)?;
    let digest = digest.map(str::parse::<Digest>).transpose()?;
    let latest = digest.is_none().then_some("latest");
    Ok(Parts {
        registry,
        repository,
        tag: tag.or(latest).map(str::to_owned),
        digest,
    })
}

/// Says whether `text` is what people copy from a list of images.
pub(super) fn is_image_id(text: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 64 && text.bytes().all(is_digit)
}

/// Says whether `component`, the first of several, is a registry.
pub(super) fn is_registry(component: &str) -> bool {
    component.eq_ignore_ascii_case("localhost") || component.contains(['.', ':'])
}

/// Cuts off the tag: what follows a colon after the last slash.
fn cut_tag(named: &str) -> (&str, Option<&str>) {
    let last = named.rfind('/').map_or(0, |slash| slash + 1);
    match named[last..].find(':') {
        Some(colon) => (&named[..last + colon], Some(&named[last + colon + 1..])),
        None => (named, None),
    }
}

/// Returns registry and repository of `name`, both of them written out.
fn normalised(name: &str) -> Result<(String, String), Flaw> {
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => (host_and_port(first)?, path),
        _ => (DEFAULT_REGISTRY.to_owned(), name),
    };
    let registry = match registry.as_str() {
        LEGACY_REGISTRY => DEFAULT_REGISTRY.to_owned(),
        _ => registry,
    };
    let path = match registry == DEFAULT_REGISTRY && !path.contains('/') && !path.is_empty() {
        true => format!("{OFFICIAL}{path}"),
        false => path.to_owned(),
    };
    Ok((registry, path))
}

/// Returns `text`, a host and perhaps a port, in lower case.
fn host_and_port(text: &str) -> Result<String, Flaw> {
    let invalid = || Flaw::Host(super::shown(text));
    let after_address = text.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[after_address..].split_once(':') {
        Some((rest, port)) => (&text[..after_address + rest.len()], Some(port)),
        None => (text, None),
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(is_ipv6_address),
        None => host.len() <= MAX_HOST_CHARACTERS && host.split('.').all(is_label),
    };
    match port {
        _ if !is_host => Err(invalid()),
        Some(port) if !is_port(port) => Err(Flaw::Port(super::shown(port))),
        _ => Ok(text.to_ascii_lowercase()),
    }
}

fn is_ipv6_address(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
    text.bytes().all(is_part) && text.parse::<Ipv6Addr>().is_ok()
}

fn is_label(label: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(is_part)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn check_path(path: &str) -> Result<(), Flaw> {
    path.split('/').try_for_each(check_component)?;
    match path.len() > MAX_PATH_CHARACTERS {
        true => Err(Flaw::LongPath),
        false => Ok(()),
    }
}

/// Finds what is not letters and digits, with single separators between them.
fn check_component(component: &str) -> Result<(), Flaw> {
    if component.is_empty() {
        return Err(Flaw::EmptyComponent);
    }
    for character in component.chars() {
        match character {
            'a'..='z' | '0'..='9' | '.' | '_' | '-' => {}
            'A'..='Z' => return Err(Flaw::UpperCase),
            other => return Err(Flaw::Character(other)),
        }
    }
    // Before, between and after separators; those at the ends leave an empty piece there.
    let is_separator = |character| matches!(character, '.' | '_' | '-');
    let mut rest = component;
    loop {
        let word = rest.find(is_separator).unwrap_or(rest.len());
        if word == 0 {
            return Err(Flaw::Separator);
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return Ok(());
        }
        let separator = rest.len() - rest.trim_start_matches(is_separator).len();
        if !is_one_separator(&rest[..separator]) {
            return Err(Flaw::Separator);
        }
        rest = &rest[separator..];
    }
}

fn is_one_separator(text: &str) -> bool {
    matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-')
}

pub(super) fn check_tag(tag: &str) -> Result<(), Flaw> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if tag.is_empty() {
        return Err(Flaw::EmptyTag);
    }
    if !tag.bytes().all(is_part) || tag.starts_with(['.', '-']) {
        return Err(Flaw::Tag);
    }
    match tag.len() > MAX_TAG_CHARACTERS {
        true => Err(Flaw::LongTag),
        false => Ok(()),
    }
}
