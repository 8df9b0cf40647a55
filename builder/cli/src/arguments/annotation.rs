//! Annotations: `--annotation [LEVEL[PLATFORM],…:]KEY=VALUE`, and the same as fields of an output.

use super::fields::Fields;
use crate::error::Failure;
use kiln_engine::{BuildRequest, Destination, ImageFormat};
use kiln_oci::{Annotation, AnnotationLevel, Annotations, Platform};
use kiln_transfer::image::Listing;

const HINT: &str = "write it as [LEVEL[PLATFORM]:]KEY=VALUE, where LEVEL is manifest, index, \
                    manifest-descriptor or index-descriptor";

/// How fields of an output begin that are annotations.
const FIELD: &str = "annotation";

/// Returns the annotations that the arguments ask for.
pub fn parse_annotations(arguments: &[String]) -> Result<Annotations, Failure> {
    let mut annotations = Vec::new();
    for argument in arguments {
        let invalid = |reason: &str| {
            Failure::usage(format!("invalid annotation `{argument}`: {reason}")).with_hint(HINT)
        };
        let Some((place, value)) = argument.split_once('=') else {
            return Err(invalid("it has no value"));
        };
        let (levels, key) = place.split_once(':').unwrap_or(("manifest", place));
        for level in levels.split(',') {
            let annotation = annotation(level, key, value);
            annotations.push(annotation.map_err(|reason| invalid(&reason))?);
        }
    }
    Ok(annotations.into_iter().collect())
}

/// Takes the annotations out of an output: `annotation.KEY`, `annotation-LEVEL.KEY`,
/// `annotation-LEVEL[PLATFORM].KEY`.
pub(super) fn take_annotations(fields: &mut Fields) -> Result<Annotations, Failure> {
    let mut annotations = Vec::new();
    for (name, value) in fields.take_all(FIELD) {
        let invalid = |reason: &str| {
            let hint = "write it as annotation.KEY=VALUE or annotation-LEVEL[PLATFORM].KEY=VALUE";
            fields.invalid(&format!("`{name}`: {reason}"), hint)
        };
        let (place, key) = split_field(&name).ok_or_else(|| invalid("it has no key"))?;
        let annotation = annotation(&place, key, &value);
        annotations.push(annotation.map_err(|reason| invalid(&reason))?);
    }
    Ok(annotations.into_iter().collect())
}

/// Returns the level of `annotation-LEVEL[PLATFORM].KEY`, and the key. A platform may have dots.
fn split_field(name: &str) -> Option<(String, &str)> {
    let rest = name.strip_prefix(FIELD)?;
    let end_of_platform = rest.find(']').map_or(0, |end| end + 1);
    let dot = end_of_platform + rest[end_of_platform..].find('.')?;
    let place = rest[..dot].strip_prefix('-').unwrap_or(&rest[..dot]);
    let place = match place.starts_with('[') || place.is_empty() {
        true => format!("manifest{place}"),
        false => place.to_owned(),
    };
    Some((place, &rest[dot + 1..]))
}

/// Returns the annotation at `place`: `LEVEL` or `LEVEL[PLATFORM]`.
fn annotation(place: &str, key: &str, value: &str) -> Result<Annotation, String> {
    let (name, platform) = match place.split_once('[') {
        Some((name, platform)) => (name, Some(platform)),
        None => (place, None),
    };
    let level = AnnotationLevel::from_name(name);
    let level = level.ok_or_else(|| format!("`{name}` is not a level"))?;
    if key.is_empty() {
        return Err("it has no key".to_owned());
    }
    Ok(Annotation {
        level,
        platform: platform
            .map(|text| self::platform(level, text))
            .transpose()?,
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

fn platform(level: AnnotationLevel, text: &str) -> Result<Platform, String> {
    if level.is_of_index() {
        return Err("an index has no platform".to_owned());
    }
    let text = text.strip_suffix(']').ok_or("a `]` is missing")?;
    text.parse::<Platform>().map_err(|error| error.to_string())
}

/// Refuses annotations that have no place in what `request` comes to.
pub fn check_annotations(request: &BuildRequest) -> Result<(), Failure> {
    check(&request.annotations, request)?;
    let is_docker = |destination: &Destination| {
        let format = ImageFormat::Docker;
        matches!(destination, Destination::Engine)
            || matches!(destination, Destination::Image { format: found, .. } if *found == format)
    };
    for output in &request.outputs {
        check(&output.annotations, request)?;
        let annotations = request.annotations.with(&output.annotations);
        if let (Some(one), true) = (annotations.iter().next(), is_docker(&output.destination)) {
            let specification = &output.specification;
            return Err(Failure::usage(format!(
                "annotation `{}`: output `{specification}` is in Docker's format, which has none",
                one.key
            ))
            .with_hint("use type=oci or type=registry, or leave the annotation out"));
        }
    }
    Ok(())
}

fn check(annotations: &Annotations, request: &BuildRequest) -> Result<(), Failure> {
    let has_index = request.images.len() != 1 || request.listing == Listing::Always;
    for one in annotations.iter() {
        let place = one.level.name();
        if one.level.is_of_index() && !has_index {
            return Err(Failure::usage(format!(
                "annotation `{place}:{}`: an image for one platform has no index",
                one.key
            ))
            .with_hint("annotate the manifest, or build for several platforms"));
        }
        let is_built = |platform: &Platform| {
            let mut images = request.images.iter();
            images.any(|image| image.platform == *platform)
        };
        if let Some(platform) = one.platform.as_ref().filter(|platform| !is_built(platform)) {
            return Err(Failure::usage(format!(
                "annotation `{place}[{platform}]:{}`: {platform} is not built",
                one.key
            ))
            .with_hint("name a platform of --platform"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(argument: &str) -> Vec<(AnnotationLevel, Option<String>, String, String)> {
        let annotations = parse_annotations(&[argument.to_owned()]).unwrap();
        let parts = annotations.iter().map(|one| {
            let platform = one.platform.as_ref().map(ToString::to_string);
            (one.level, platform, one.key.clone(), one.value.clone())
        });
        parts.collect()
    }

    #[test]
    fn annotation_stands_in_the_manifest_unless_a_level_is_given() {
        let own = |text: &str| text.to_owned();
        let manifest = (AnnotationLevel::Manifest, None, own("a.b"), own("c=d:e"));
        assert_eq!(parsed("a.b=c=d:e"), [manifest]);
        let levels = [AnnotationLevel::Index, AnnotationLevel::ManifestDescriptor];
        let expected = levels.map(|level| (level, None, own("key"), String::new()));
        assert_eq!(parsed("index,manifest-descriptor:key="), expected);
    }

    #[test]
    fn annotation_may_be_for_one_platform() {
        let [(level, platform, ..)] = &parsed("manifest[linux/arm/v7]:a=b")[..] else {
            panic!("one annotation");
        };
        assert_eq!(*level, AnnotationLevel::Manifest);
        assert_eq!(platform.as_deref(), Some("linux/arm/v7"));
    }

    #[test]
    fn annotation_without_a_meaning_is_refused() {
        for argument in [
            "a",
            "=b",
            "layer:a=b",
            "index[linux/amd64]:a=b",
            "manifest[linux/amd64:a=b",
            "manifest[]:a=b",
            "manifest:=b",
        ] {
            assert!(
                parse_annotations(&[argument.to_owned()]).is_err(),
                "{argument}"
            );
        }
    }

    #[test]
    fn fields_of_an_output_name_level_and_platform() {
        let cases = [
            ("annotation.a.b", Some(("manifest", "a.b"))),
            ("annotation-index.a", Some(("index", "a"))),
            (
                "annotation[linux/amd64].a",
                Some(("manifest[linux/amd64]", "a")),
            ),
            (
                "annotation-manifest-descriptor[linux/arm64].Key.x",
                Some(("manifest-descriptor[linux/arm64]", "Key.x")),
            ),
            ("annotation-index", None),
        ];
        for (name, expected) in cases {
            let found = split_field(name);
            let found = found.as_ref().map(|(place, key)| (place.as_str(), *key));
            assert_eq!(found, expected, "{name}");
        }
    }
}
