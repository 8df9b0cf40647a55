//! `kiln manifest annotate`.

use super::{keep, list};
use crate::arguments::{GlobalArguments, ManifestAnnotateArguments};
use crate::error::{Class, Failure};
use crate::lookup;
use crate::session::{Session, parse_reference};
use kiln_oci::{Descriptor, Index, Platform};

pub fn run(global: &GlobalArguments, arguments: &ManifestAnnotateArguments) -> Result<(), Failure> {
    let name = parse_reference(&arguments.name)?;
    let session = Session::open(global)?;
    let mut index = list(&session.store, &name)?.ok_or_else(|| {
        let message = format!("no list `{}` in the store", name.familiar());
        Failure::new(Class::Image, message).with_hint("`kiln manifest create` makes one")
    })?;
    let place = find(&session, &index, &arguments.image)?;
    change(&mut index.manifests[place], arguments)?;
    keep(&session.store, &name, &index)?;
    Ok(())
}

/// Returns the place of the image that `text` means.
fn find(session: &Session, index: &Index, text: &str) -> Result<usize, Failure> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let begins = |entry: &Descriptor| !digits.is_empty() && entry.digest.hex().starts_with(digits);
    let matching: Vec<usize> = (0..index.manifests.len())
        .filter(|place| begins(&index.manifests[*place]))
        .collect();
    if let [place] = matching.as_slice() {
        return Ok(*place);
    }
    let is = |digest: &kiln_oci::Digest| {
        let mut entries = index.manifests.iter();
        entries.position(|entry| entry.digest == *digest)
    };
    if let Ok(found) = lookup::find(&session.store, text)
        && let Some(place) = is(&found.target.digest)
    {
        return Ok(place);
    }
    let missing = || {
        let digests = index.manifests.iter().map(|entry| entry.digest.to_string());
        let digests = digests.collect::<Vec<_>>().join(", ");
        Failure::new(Class::Image, format!("the list has no image `{text}`"))
            .with_hint(format!("it has {digests}"))
    };
    let reference = parse_reference(text).map_err(|_| missing())?;
    let resolved = session.client.resolve(&reference)?;
    is(&resolved.descriptor.digest).ok_or_else(missing)
}

fn change(entry: &mut Descriptor, arguments: &ManifestAnnotateArguments) -> Result<(), Failure> {
    let known = entry.platform.clone();
    let mut platform = known.unwrap_or_else(|| Platform::new("linux", "", None));
    if let Some(os) = &arguments.os {
        platform.os.clone_from(os);
    }
    if let Some(architecture) = &arguments.arch {
        platform.architecture.clone_from(architecture);
    }
    if let Some(variant) = &arguments.variant {
        platform.variant = Some(variant.clone()).filter(|variant| !variant.is_empty());
    }
    if let Some(version) = &arguments.os_version {
        platform.os_version = Some(version.clone()).filter(|version| !version.is_empty());
    }
    if !arguments.os_features.is_empty() {
        platform.os_features.clone_from(&arguments.os_features);
    }
    entry.platform = Some(platform);
    for annotation in &arguments.annotation {
        let (key, value) = annotation.split_once('=').ok_or_else(|| {
            Failure::usage(format!("invalid annotation `{annotation}`"))
                .with_hint("write it as KEY=VALUE")
        })?;
        entry.annotations.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}
