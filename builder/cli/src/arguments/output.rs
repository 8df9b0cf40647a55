//! Output specifications: `type=oci,dest=out.tar,compression=zstd`, or a bare path.

use crate::error::Failure;
use kiln_engine::{Compression, Destination, ImageFormat, Output};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Returns the output that `specification` describes.
///
/// A bare path is a directory of files, `-` a tar on standard output, as elsewhere.
pub fn parse_output(specification: &str) -> Result<Output, Failure> {
    let mut fields = split(specification)?;
    let kind = fields.remove("type").ok_or_else(|| {
        invalid(
            specification,
            "it has no `type=`",
            "start with type=oci, docker, local, tar, image or registry",
        )
    })?;
    let output = build(specification, &kind, &mut fields)?;
    match fields.keys().next() {
        None => Ok(output),
        Some(unknown) => Err(invalid(
            specification,
            &format!("`{unknown}` is not an option of type={kind}"),
            "remove it, or see `kiln build --help`",
        )),
    }
}

fn split(specification: &str) -> Result<BTreeMap<String, String>, Failure> {
    if !specification.contains('=') {
        let kind = if specification == "-" { "tar" } else { "local" };
        let fields = [("type", kind), ("dest", specification)];
        return Ok(fields
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into());
    }
    let mut fields = BTreeMap::new();
    for field in specification.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            invalid(
                specification,
                &format!("`{field}` has no value"),
                "write it as KEY=VALUE",
            )
        })?;
        if fields
            .insert(key.trim().to_lowercase(), value.to_owned())
            .is_some()
        {
            return Err(invalid(
                specification,
                &format!("`{key}` is given twice"),
                "give it once",
            ));
        }
    }
    Ok(fields)
}

fn build(
    specification: &str,
    kind: &str,
    fields: &mut BTreeMap<String, String>,
) -> Result<Output, Failure> {
    let dest = fields.remove("dest");
    let path = dest.clone().filter(|dest| dest != "-").map(PathBuf::from);
    let compression = compression(specification, fields)?;
    let names = fields
        .remove("name")
        .map(|names| names.split(',').map(str::to_owned).collect());
    let needs_dest = || {
        invalid(
            specification,
            &format!("type={kind} needs `dest=`"),
            "say where to write it",
        )
    };
    let destination = match kind {
        "oci" | "docker" => {
            let format = if kind == "oci" {
                ImageFormat::Oci
            } else {
                ImageFormat::Docker
            };
            let archive = flag(specification, fields, "tar", true)?;
            match (&dest, kind) {
                (None, "docker") => Destination::Engine,
                (None, _) if !archive => return Err(needs_dest()),
                _ => Destination::Image {
                    format,
                    path,
                    archive,
                },
            }
        }
        "local" => Destination::Directory(path.ok_or_else(needs_dest)?),
        "tar" => Destination::Tar(path),
        "registry" => Destination::Registry,
        "image" if flag(specification, fields, "push", false)? => Destination::Registry,
        "image" | "cacheonly" => Destination::Nothing,
        _ => {
            return Err(invalid(
                specification,
                &format!("`{kind}` is not a type"),
                "use oci, docker, local, tar, image, registry or cacheonly",
            ));
        }
    };
    let names = names.unwrap_or_default();
    Ok(Output {
        specification: specification.to_owned(),
        destination,
        compression,
        names,
    })
}

fn flag(
    specification: &str,
    fields: &mut BTreeMap<String, String>,
    name: &str,
    default: bool,
) -> Result<bool, Failure> {
    match fields.remove(name).as_deref() {
        None => Ok(default),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(invalid(
            specification,
            &format!("`{name}={other}`"),
            "use true or false",
        )),
    }
}

fn compression(
    specification: &str,
    fields: &mut BTreeMap<String, String>,
) -> Result<Compression, Failure> {
    let level = fields.remove("compression-level");
    let level = level
        .map(|level| level.parse::<i32>())
        .transpose()
        .map_err(|_| {
            invalid(
                specification,
                "compression-level is not a number",
                "use 0 to 22",
            )
        })?;
    let name = fields
        .remove("compression")
        .unwrap_or_else(|| "gzip".to_owned());
    parse_compression(&name, level).ok_or_else(|| {
        invalid(
            specification,
            &format!("compression `{name}` is not supported"),
            "use gzip, zstd or uncompressed",
        )
    })
}

/// Returns the compression called `name`.
pub fn parse_compression(name: &str, level: Option<i32>) -> Option<Compression> {
    match name {
        "gzip" => Some(Compression::Gzip { level }),
        "zstd" => Some(Compression::Zstd { level }),
        "uncompressed" => Some(Compression::None),
        _ => None,
    }
}

fn invalid(specification: &str, reason: &str, hint: &str) -> Failure {
    Failure::usage(format!("invalid output `{specification}`: {reason}")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(specification: &str) -> Destination {
        parse_output(specification).unwrap().destination
    }

    #[test]
    fn bare_path_is_a_directory_and_dash_a_tar_on_standard_output() {
        assert_eq!(destination("out"), Destination::Directory("out".into()));
        assert_eq!(destination("-"), Destination::Tar(None));
    }

    #[test]
    fn image_formats_take_a_file_or_a_directory() {
        let image = |format, path: Option<&str>, archive| Destination::Image {
            format,
            path: path.map(PathBuf::from),
            archive,
        };
        let cases = [
            (
                "type=oci,dest=a.tar",
                image(ImageFormat::Oci, Some("a.tar"), true),
            ),
            (
                "type=oci,dest=a,tar=false",
                image(ImageFormat::Oci, Some("a"), false),
            ),
            ("type=docker,dest=-", image(ImageFormat::Docker, None, true)),
            ("type=docker", Destination::Engine),
            ("type=image,push=true", Destination::Registry),
        ];
        for (specification, expected) in cases {
            assert_eq!(destination(specification), expected, "{specification}");
        }
    }

    #[test]
    fn compression_is_gzip_unless_said_otherwise() {
        let compression = |text| parse_output(text).unwrap().compression;
        assert_eq!(
            compression("type=oci,dest=a"),
            Compression::Gzip { level: None }
        );
        let zstd = compression("type=oci,dest=a,compression=zstd,compression-level=9");
        assert_eq!(zstd, Compression::Zstd { level: Some(9) });
    }

    #[test]
    fn unknown_types_options_and_values_are_errors() {
        let cases = [
            "type=iso,dest=a",
            "type=oci,dest=a,colour=red",
            "type=local",
            "dest=a",
            "type=oci,dest=a,tar=perhaps",
            "type=oci,dest=a,dest=b",
        ];
        for specification in cases {
            assert!(parse_output(specification).is_err(), "{specification}");
        }
    }
}
