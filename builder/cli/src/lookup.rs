//! Images of the store by what people call them: a name, a name with a digest, an image ID or
//! the beginning of one.

use crate::error::{Class, Failure, fail_with_all};
use crate::session::invalid_reference;
use kiln_engine::disk::{NamedImage, Store};
use kiln_oci::{Descriptor, Digest, Platform, Reference};
use kiln_transfer::image::{self, Image};
use kiln_transfer::images;
use std::sync::Once;

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Found {
    /// The name that it was called by; none if it was called by its ID.
    pub name: Option<Reference>,
    /// Its manifest or index.
    pub target: Descriptor,
}

impl Found {
    /// Returns what the image is called in messages.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => name.familiar(),
            None => self.target.digest.to_string(),
        }
    }

    /// Returns its image for `platform`; without one that for this machine, or else the only
    /// one there is.
    pub fn image(&self, store: &Store, platform: Option<&Platform>) -> Result<Image, Failure> {
        let mut present = images::present(store, &self.target)?;
        if present.len() == 1 && platform.is_none_or(|wanted| wanted.matches(&present[0].platform))
        {
            return Ok(present.remove(0));
        }
        image::load(store, &self.target, platform).map_err(|error| {
            let offered: Vec<_> = present.iter().map(|one| one.platform.to_string()).collect();
            let failure = Failure::from(error).within(format!("cannot use {}", self.title()));
            match offered.is_empty() {
                true => failure,
                false => failure.with_hint(format!("the store has it for {}", offered.join(", "))),
            }
        })
    }
}

/// Returns the image that `text` means.
pub fn find(store: &Store, text: &str) -> Result<Found, Failure> {
    let reference = text.parse::<Reference>();
    if let Ok(reference) = &reference {
        if let Some(named) = store.images().get(reference)? {
            return Ok(found(named));
        }
        if let Some(digest) = reference.digest()
            && let Some(found) = by_digest(store, reference, digest)?
        {
            return Ok(found);
        }
    }
    if let Some(prefix) = id_prefix(text)
        && let Some(found) = by_id(store, text, prefix)?
    {
        return Ok(found);
    }
    match reference {
        Ok(reference) => Err(missing(&reference.familiar())),
        Err(_) if id_prefix(text).is_some() => Err(missing(text)),
        Err(error) => Err(invalid_reference(text, &error)),
    }
}

/// Returns the named images; of names that are damaged it tells.
pub fn sound_images(store: &Store) -> Result<Vec<NamedImage>, Failure> {
    static TOLD: Once = Once::new();
    let listed = store.images().list_sound()?;
    TOLD.call_once(|| {
        for damaged in &listed.damaged {
            crate::output::tell!("warning: {damaged}: `kiln store verify --repair` sets it aside");
        }
    });
    Ok(listed.images)
}

/// Fails if names are damaged, after what could be done without them was.
pub fn refuse_damaged(damaged: Vec<kiln_engine::disk::Error>) -> Result<(), Failure> {
    fail_with_all(damaged.into_iter().map(Failure::from))
}

fn missing(text: &str) -> Failure {
    Failure::new(Class::Image, format!("no image `{text}` in the store"))
        .with_hint("`kiln images` lists what is there; `kiln pull` fetches images")
}

fn found(named: NamedImage) -> Found {
    Found {
        name: Some(named.name),
        target: named.target,
    }
}

/// `name@digest` is any image of that repository, under whichever tag, that has the digest.
fn by_digest(
    store: &Store,
    reference: &Reference,
    digest: &Digest,
) -> Result<Option<Found>, Failure> {
    for named in sound_images(store)? {
        if named.name.name() != reference.name() {
            continue;
        }
        if let Some((_, target)) = ids(store, &named.target)
            .into_iter()
            .find(|(id, _)| id == digest)
        {
            let name = Some(named.name);
            return Ok(Some(Found { name, target }));
        }
    }
    Ok(None)
}

/// Returns the digits that an image's ID begins with, if `text` may be such.
fn id_prefix(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_id = (1..=64).contains(&digits.len()) && digits.bytes().all(is_digit);
    is_id.then_some(digits)
}

/// Named images go before those that lost their name.
fn by_id(store: &Store, text: &str, prefix: &str) -> Result<Option<Found>, Failure> {
    let named = sound_images(store)?;
    let targets = named.into_iter().map(|named| named.target).collect();
    match select(store, text, prefix, targets)? {
        Some(found) => Ok(Some(found)),
        None => select(store, text, prefix, images::unnamed(store)?),
    }
}

fn select(
    store: &Store,
    text: &str,
    prefix: &str,
    targets: Vec<Descriptor>,
) -> Result<Option<Found>, Failure> {
    let mut matching: Vec<(Digest, Descriptor)> = Vec::new();
    for target in &targets {
        let begins = |(id, _): &(Digest, Descriptor)| id.hex().starts_with(prefix);
        let ids = ids(store, target).into_iter().filter(begins);
        matching.extend(ids);
    }
    let Some((id, target)) = matching.first().cloned() else {
        return Ok(None);
    };
    if matching.iter().all(|(other, _)| *other == id) {
        return Ok(Some(Found { name: None, target }));
    }
    let mut meant: Vec<_> = matching.iter().map(|(id, _)| id.to_string()).collect();
    meant.sort();
    meant.dedup();
    let message = format!("`{text}` is the beginning of {} image IDs", meant.len());
    Err(Failure::new(Class::Image, message)
        .with_hint(format!("write more of it: {}", meant.join(", "))))
}

/// Returns the IDs that mean `target` or an image in it: digests of configurations, manifests
/// and of the index. An image that cannot be read has that of its target.
fn ids(store: &Store, target: &Descriptor) -> Vec<(Digest, Descriptor)> {
    let mut ids = vec![(target.digest.clone(), target.clone())];
    let images = images::present(store, target).unwrap_or_default();
    let is_single = images.len() == 1;
    for image in images {
        // The only image of an index stands for the whole.
        let meant = match is_single {
            true => target.clone(),
            false => image.manifest.clone(),
        };
        ids.push((image.config_descriptor.digest.clone(), meant));
        ids.push((image.manifest.digest.clone(), image.manifest));
    }
    ids
}

/// Returns the image ID that lists show: the digest of the configuration, as Docker has it; of
/// an image for several platforms that of its index.
pub fn image_id<'a>(target: &'a Descriptor, images: &'a [Image]) -> &'a Digest {
    match images {
        [image] => &image.config_descriptor.digest,
        _ => &target.digest,
    }
}

/// Returns the first twelve digits, as lists show IDs.
pub fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::id_prefix;

    #[test]
    fn ids_are_hexadecimal_digits_with_or_without_algorithm() {
        assert_eq!(id_prefix("sha256:ab"), Some("ab"));
        assert_eq!(id_prefix("0f"), Some("0f"));
        for text in ["", "sha256:", "AB", "app", "sha512:ab", &"a".repeat(65)] {
            assert_eq!(id_prefix(text), None, "{text}");
        }
    }
}
