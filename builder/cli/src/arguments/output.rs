//! Output specifications: `type=oci,dest=out.tar,compression=zstd`, or a bare path.

use super::annotation::take_annotations;
use super::fields::Fields;
use crate::error::Failure;
use kiln_engine::{Compression, Destination, ImageFormat, Output};
use kiln_oci::{Annotations, MediaFamily};
use kiln_transfer::push::Naming;
use std::path::PathBuf;

/// Returns the output that `specification` describes.
///
/// A bare path is a directory of files, `-` a tar on standard output, as elsewhere.
pub fn parse_output(specification: &str) -> Result<Output, Failure> {
    let mut fields = match specification {
        "-" => Fields::of("output", specification, [("type", "tar"), ("dest", "-")]),
        path if !path.contains('=') => {
            Fields::of("output", path, [("type", "local"), ("dest", path)])
        }
        _ => Fields::split("output", specification)?,
    };
    let hint = "start with type=oci, docker, local, tar, image or registry";
    let kind = fields.need("type", hint)?;
    let output = build(&kind, &mut fields)?;
    fields.finish(&kind)?;
    Ok(output)
}

fn build(kind: &str, fields: &mut Fields) -> Result<Output, Failure> {
    let dest = fields.take("dest");
    let path = dest.clone().filter(|dest| dest != "-").map(PathBuf::from);
    let compression = fields.compression()?;
    let names = fields.take("name");
    let names = names.map(|names| names.split(',').map(str::to_owned).collect());
    let needs_dest = |fields: &Fields| {
        let reason = format!("type={kind} needs `dest=`");
        fields.invalid(&reason, "say where to write it")
    };
    let destination = match kind {
        "oci" | "docker" => {
            let format = if kind == "oci" {
                ImageFormat::Oci
            } else {
                ImageFormat::Docker
            };
            let archive = fields.flag("tar", true)?;
            match (&dest, kind) {
                (None, "docker") => Destination::Engine,
                (None, _) if !archive => return Err(needs_dest(fields)),
                _ => Destination::Image {
                    format,
                    path,
                    archive,
                },
            }
        }
        "local" => Destination::Directory(path.ok_or_else(|| needs_dest(fields))?),
        "tar" => Destination::Tar(path),
        "registry" => Destination::Registry(naming(fields)?),
        "image" if fields.flag("push", false)? => Destination::Registry(naming(fields)?),
        "image" | "cacheonly" => Destination::Nothing,
        _ => {
            return Err(fields.invalid(
                &format!("`{kind}` is not a type"),
                "use oci, docker, local, tar, image, registry or cacheonly",
            ));
        }
    };
    let annotations = match destination {
        Destination::Image { .. } | Destination::Registry(_) => take_annotations(fields)?,
        _ => Annotations::default(),
    };
    let family = media_family(fields, &destination)?;
    let split = match destination {
        Destination::Directory(_) | Destination::Tar(_) => {
            fields.optional_flag("platform-split")?
        }
        _ => None,
    };
    ignore_what_is_so(kind, fields)?;
    let compression = match destination {
        // It is read on the same machine, and unpacked at once.
        Destination::Engine => Compression::None,
        _ => compression,
    };
    Ok(Output {
        specification: fields.specification.clone(),
        destination,
        compression,
        names: names.unwrap_or_default(),
        annotations,
        family,
        split,
    })
}

/// Returns whose media types an image is to have.
fn media_family(
    fields: &mut Fields,
    destination: &Destination,
) -> Result<Option<MediaFamily>, Failure> {
    if !matches!(
        destination,
        Destination::Image { .. } | Destination::Registry(_)
    ) {
        return Ok(None);
    }
    let is_oci = fields.optional_flag("oci-mediatypes")?;
    Ok(is_oci.map(|is_oci| match is_oci {
        true => MediaFamily::Oci,
        false => MediaFamily::Docker,
    }))
}

/// Takes options out that ask for what is done anyway; the opposite is refused.
fn ignore_what_is_so(kind: &str, fields: &mut Fields) -> Result<(), Failure> {
    let options: &[&str] = match kind {
        "image" | "registry" => &["store", "unpack", "name-canonical", "rewrite-timestamp"],
        "oci" | "docker" | "tar" | "local" => &["rewrite-timestamp"],
        _ => &[],
    };
    for option in options {
        let is_wanted = fields.flag(option, true)?;
        if !is_wanted && *option == "rewrite-timestamp" {
            let hint = "leave it out: times are clamped when SOURCE_DATE_EPOCH is set";
            return Err(fields.invalid("`rewrite-timestamp=false` is not possible", hint));
        }
    }
    Ok(())
}

/// Returns whether what is pushed gets a tag.
fn naming(fields: &mut Fields) -> Result<Naming, Failure> {
    Ok(match fields.flag("push-by-digest", false)? {
        true => Naming::Digest,
        false => Naming::Reference,
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
            (
                "type=image,push=true",
                Destination::Registry(Naming::Reference),
            ),
            (
                "type=registry,push-by-digest=true",
                Destination::Registry(Naming::Digest),
            ),
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
