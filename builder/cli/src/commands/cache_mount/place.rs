//! Where cache mounts go and come from: `type=registry,ref=NAME` and the like.

use crate::error::Failure;
use crate::session::parse_reference;
use kiln_oci::Reference;
use kiln_transfer::cache_mount::InDirectory;
use std::path::PathBuf;

/// A place for a cache mount.
#[derive(Debug)]
pub enum Spec {
    Registry(Reference),
    Directory(InDirectory),
    /// A tar archive; none for standard input or output.
    Tar(Option<PathBuf>),
}

/// Returns the place that `text` says; `path_key` is `dest` or `src`.
pub fn parse(text: &str, path_key: &str) -> Result<Spec, Failure> {
    place(Fields::parse(text, path_key)?)
}

/// As [`parse`], with the id of a cache mount: `id=ID,type=registry,ref=NAME`.
pub fn parse_with_id(text: &str, path_key: &str) -> Result<(Option<String>, Spec), Failure> {
    let mut fields = Fields::parse(text, path_key)?;
    let id = fields.take("id");
    Ok((id, place(fields)?))
}

fn place(mut fields: Fields<'_>) -> Result<Spec, Failure> {
    let path_key = fields.path_key;
    let spec = match fields.take("type").as_deref() {
        Some("registry") => Spec::Registry(parse_reference(&fields.need("ref")?)?),
        Some("local") => Spec::Directory(InDirectory {
            directory: fields.need(path_key)?.into(),
            tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
        }),
        Some("tar") => match fields.need(path_key)?.as_str() {
            "-" => Spec::Tar(None),
            path => Spec::Tar(Some(path.into())),
        },
        _ => return Err(fields.wrong("its type is none of registry, local and tar")),
    };
    match fields.pairs.first() {
        None => Ok(spec),
        Some((key, _)) => Err(fields.wrong(&format!("`{key}` is not known there"))),
    }
}

struct Fields<'a> {
    text: &'a str,
    path_key: &'a str,
    pairs: Vec<(String, String)>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str, path_key: &'a str) -> Result<Self, Failure> {
        let mut fields = Fields {
            text,
            path_key,
            pairs: Vec::new(),
        };
        for field in text.split(',') {
            let Some((key, value)) = field.split_once('=') else {
                return Err(fields.wrong(&format!("`{field}` is no KEY=VALUE")));
            };
            fields.pairs.push((key.to_owned(), value.to_owned()));
        }
        Ok(fields)
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let place = self.pairs.iter().position(|(found, _)| found == key)?;
        Some(self.pairs.remove(place).1)
    }

    fn need(&mut self, key: &str) -> Result<String, Failure> {
        let value = self.take(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| self.wrong(&format!("it has no {key}=")))
    }

    fn wrong(&self, reason: &str) -> Failure {
        let path = self.path_key;
        Failure::usage(format!("invalid place `{}`: {reason}", self.text)).with_hint(format!(
            "write type=registry,ref=NAME, type=local,{path}=DIR or type=tar,{path}=FILE"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spelled_as_outputs_and_caches_are() {
        let spec = parse("type=registry,ref=r.example/team/cache:main", "dest").unwrap();
        let Spec::Registry(reference) = spec else {
            panic!("{spec:?}");
        };
        assert_eq!(reference.to_string(), "r.example/team/cache:main");
        let spec = parse("type=local,src=/d,tag=t", "src").unwrap();
        let Spec::Directory(InDirectory { directory, tag }) = spec else {
            panic!("{spec:?}");
        };
        assert_eq!((directory, tag.as_str()), ("/d".into(), "t"));
        assert!(matches!(
            parse("type=tar,dest=-", "dest"),
            Ok(Spec::Tar(None))
        ));
    }

    #[test]
    fn places_that_say_too_little_or_too_much_are_refused() {
        for text in [
            "",
            "/d",
            "type=s3,ref=x",
            "type=local",
            "type=local,dest=",
            "type=local,src=/d",
            "type=tar,dest=/f,tag=t",
            "type=registry,ref=UPPER",
        ] {
            assert!(parse(text, "dest").is_err(), "{text}");
        }
    }
}
