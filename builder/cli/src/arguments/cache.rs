//! Specifications of remote caches: `type=registry,ref=NAME,mode=max`, or a bare name.

use super::fields::Fields;
use crate::error::Failure;
use crate::session::parse_reference;
use kiln_engine::{
    CacheDestination, CacheLocation, CacheMode, CacheSource, CacheTarget, DEFAULT_TAG, OnError,
};
use std::path::PathBuf;

const TYPES_HINT: &str = "use registry, local or inline";

/// Returns the cache that `--cache-from specification` names. A bare name is a registry's.
pub fn parse_cache_source(specification: &str) -> Result<CacheSource, Failure> {
    let (mut fields, kind) = fields(specification)?;
    let location = match kind.as_str() {
        "registry" => registry(&mut fields)?,
        "local" => layout(&mut fields, "src")?,
        "inline" => {
            let hint = "name the image that has it: type=registry,ref=IMAGE";
            return Err(fields.invalid("an inline cache is read from its image", hint));
        }
        _ => return Err(unknown(&fields, &kind)),
    };
    fields.finish(&kind)?;
    Ok(CacheSource {
        specification: specification.to_owned(),
        location,
    })
}

/// Returns the cache that `--cache-to specification` names.
pub fn parse_cache_target(specification: &str) -> Result<CacheTarget, Failure> {
    let (mut fields, kind) = fields(specification)?;
    let mode = mode(&mut fields)?;
    let compression = fields.compression()?;
    let on_error = match fields.flag("ignore-error", false)? {
        true => OnError::Warn,
        false => OnError::Fail,
    };
    let destination = match kind.as_str() {
        "registry" => {
            refuse_old_forms(&mut fields)?;
            CacheDestination::Location(registry(&mut fields)?)
        }
        "local" => {
            refuse_old_forms(&mut fields)?;
            CacheDestination::Location(layout(&mut fields, "dest")?)
        }
        "inline" if mode == CacheMode::Max => {
            let hint = "use mode=min, or type=registry";
            return Err(fields.invalid("an inline cache has what its image has", hint));
        }
        "inline" => CacheDestination::Inline,
        _ => return Err(unknown(&fields, &kind)),
    };
    fields.finish(&kind)?;
    Ok(CacheTarget {
        specification: specification.to_owned(),
        destination,
        mode,
        compression,
        on_error,
    })
}

fn fields(specification: &str) -> Result<(Fields, String), Failure> {
    let mut fields = match specification.contains('=') {
        true => Fields::split("cache", specification)?,
        false => {
            let values = [("type", "registry"), ("ref", specification)];
            Fields::of("cache", specification, values)
        }
    };
    let kind = fields.need("type", TYPES_HINT)?;
    Ok((fields, kind))
}

fn registry(fields: &mut Fields) -> Result<CacheLocation, Failure> {
    let name = fields.need("ref", "name the cache: ref=REGISTRY/NAME:TAG")?;
    Ok(CacheLocation::Registry(parse_reference(&name)?))
}

fn layout(fields: &mut Fields, name: &str) -> Result<CacheLocation, Failure> {
    let path = fields.need(name, &format!("name the directory: {name}=DIR"))?;
    let digest = fields.take("digest").map(|digest| digest.parse());
    let digest = digest.transpose().map_err(|error| {
        let reason = format!("the digest is none: {error}");
        fields.invalid(&reason, "write it as sha256:…")
    })?;
    Ok(CacheLocation::Directory {
        path: PathBuf::from(path),
        tag: fields.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned()),
        digest,
    })
}

fn mode(fields: &mut Fields) -> Result<CacheMode, Failure> {
    match fields.take("mode").as_deref() {
        None | Some("min") => Ok(CacheMode::Min),
        Some("max") => Ok(CacheMode::Max),
        Some(other) => Err(fields.invalid(&format!("`mode={other}`"), "use min or max")),
    }
}

/// A cache is an OCI image manifest; what asks for another form is refused.
fn refuse_old_forms(fields: &mut Fields) -> Result<(), Failure> {
    for name in ["image-manifest", "oci-mediatypes"] {
        if !fields.flag(name, true)? {
            let reason = format!("`{name}=false` is not supported");
            return Err(fields.invalid(&reason, "leave it out"));
        }
    }
    Ok(())
}

fn unknown(fields: &Fields, kind: &str) -> Failure {
    let reason = match kind {
        "gha" | "s3" | "azblob" => format!("type={kind} is not supported yet"),
        _ => format!("`{kind}` is not a type"),
    };
    fields.invalid(&reason, TYPES_HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_cache_in_a_registry() {
        let location = parse_cache_source("example.com/cache:ci").unwrap().location;
        let name = "example.com/cache:ci".parse().unwrap();
        assert_eq!(location, CacheLocation::Registry(name));
    }

    #[test]
    fn a_directory_has_a_tag() {
        let location = |text| parse_cache_source(text).unwrap().location;
        let expected = |tag: &str| CacheLocation::Directory {
            path: "d".into(),
            tag: tag.to_owned(),
            digest: None,
        };
        assert_eq!(location("type=local,src=d"), expected("latest"));
        assert_eq!(location("type=local,src=d,tag=ci"), expected("ci"));
    }

    #[test]
    fn targets_have_a_mode_and_say_what_a_failure_means() {
        let target = parse_cache_target("type=local,dest=d,mode=max,ignore-error=true").unwrap();
        assert_eq!(target.mode, CacheMode::Max);
        assert_eq!(target.on_error, OnError::Warn);
        let target = parse_cache_target("type=inline").unwrap();
        assert_eq!(target.destination, CacheDestination::Inline);
        assert_eq!(
            (target.mode, target.on_error),
            (CacheMode::Min, OnError::Fail)
        );
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for specification in [
            "type=s3,bucket=b",
            "type=tape",
            "ref=a",
            "type=registry",
            "type=local,dest=d,src=d",
            "type=local,dest=d,mode=most",
            "type=inline,mode=max",
            "type=registry,ref=a,image-manifest=false",
        ] {
            assert!(
                parse_cache_target(specification).is_err(),
                "{specification}"
            );
        }
        assert!(parse_cache_source("type=inline").is_err());
    }
}
