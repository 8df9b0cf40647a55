//! Named contexts: `NAME=DIRECTORY`, `NAME=docker-image://…`, `NAME=oci-layout://…`, addresses.

use super::fetch::Fetcher;
use super::main_context::{directory, files_of, http_source};
use super::{Inputs, ignore};
use crate::arguments::BuildArguments;
use crate::error::{Class, Failure};
use crate::session::{parse_platform, parse_reference};
use kiln_dockerfile::{Context, ContextSource, NamedContext};
use kiln_engine::{ContextModes, LocalDirectory, Owners};
use kiln_oci::{Platform, Reference};
use kiln_plan::remote::{Remote, redacted};
use kiln_transfer::layout_name::{LayoutName, parse_layout_name};
use kiln_transfer::source::oci_layout;
use std::path::{Path, PathBuf};

/// A named context as the user wrote it.
pub(super) struct Named {
    /// With `::platform`, if it is for one.
    name: String,
    display: String,
    kind: Kind,
}

enum Kind {
    Directory(PathBuf),
    Layout { path: PathBuf, wanted: LayoutName },
    Other(ContextSource),
}

/// Returns the contexts that `arguments` name; a later one replaces an earlier one.
pub(super) fn parse(arguments: &[String]) -> Result<Vec<Named>, Failure> {
    arguments
        .iter()
        .map(|argument| parse_one(argument))
        .collect()
}

fn parse_one(argument: &str) -> Result<Named, Failure> {
    let (name, value) = argument
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| {
            Failure::usage(format!("invalid build context `{argument}`"))
                .with_hint("write it as NAME=DIRECTORY, or NAME=docker-image://IMAGE")
        })?;
    let kind = kind(value).map_err(|failure| {
        let name = name.split_once("::").map_or(name, |(name, _)| name);
        failure.within(format!("cannot use the build context `{name}`"))
    })?;
    Ok(Named {
        name: name.to_owned(),
        display: redacted(value).into_owned(),
        kind,
    })
}

fn kind(value: &str) -> Result<Kind, Failure> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(Kind::Other(match image {
            "scratch" => ContextSource::Nothing,
            image => ContextSource::Image(parse_reference(image)?),
        }));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return parse_layout(layout);
    }
    for scheme in ["target:", "input:"] {
        if value.starts_with(scheme) {
            let message = format!("`{scheme}` refers to another target of the same build");
            return Err(Failure::usage(message)
                .with_hint("build that target first, and name its result with docker-image://"));
        }
    }
    match Remote::parse_context(value) {
        Some(Ok(Remote::Git(git))) => Ok(Kind::Other(ContextSource::Git(git))),
        Some(Ok(Remote::Http { url })) => Ok(Kind::Other(ContextSource::File(http_source(url)))),
        Some(Err(error)) => Err(Failure::from_error(Class::Usage, &error)),
        None => directory(value).map(Kind::Directory),
    }
}

fn parse_layout(text: &str) -> Result<Kind, Failure> {
    let (path, wanted) = parse_layout_name(text, Path::is_dir)
        .map_err(|error| Failure::from_error(Class::Usage, &error))?;
    Ok(Kind::Layout { path, wanted })
}

impl Named {
    /// Reads what must be known of the context and adds it.
    pub(super) fn add_to(
        self,
        inputs: &mut Inputs,
        arguments: &BuildArguments,
        fetcher: &Fetcher<'_>,
    ) -> Result<(), Failure> {
        let source = match self.kind {
            Kind::Other(source) => source,
            Kind::Directory(path) => {
                let (ignore, load) = ignore::of_directory(&files_of(&path)?, &path)?;
                inputs.loads.extend(load);
                let directory = LocalDirectory {
                    path,
                    ignore,
                    modes: ContextModes::default(),
                    owners: Owners::Root,
                };
                inputs.directories.insert(self.name.clone(), directory);
                ContextSource::Local(self.name.clone())
            }
            Kind::Layout { path, wanted } => {
                let platforms = wanted_platforms(arguments)?;
                let target = oci_layout::import(fetcher.store()?, &path, &wanted, &platforms)
                    .map_err(|error| {
                        let message = format!("cannot use the build context `{}`", self.name);
                        Failure::caused(Class::Image, message, &error)
                    })?;
                inputs.imported.insert(target.digest.clone());
                ContextSource::Image(layout_reference(&self.name)?.with_digest(target.digest))
            }
        };
        let context = Context::from(source);
        let named = NamedContext::new(&self.name, &self.display, context).map_err(|error| {
            Failure::caused(
                Class::Usage,
                format!("invalid build context `{}`", self.name),
                &error,
            )
            .with_hint("name it like a stage or an image of the Dockerfile")
        })?;
        inputs.contexts.named.push(named);
        Ok(())
    }
}

/// A stage may be for the platform of this machine whatever the image is for.
fn wanted_platforms(arguments: &BuildArguments) -> Result<Vec<Platform>, Failure> {
    let named = arguments.platform.iter();
    let mut platforms: Vec<Platform> = named
        .map(|platform| parse_platform(platform))
        .collect::<Result<_, _>>()?;
    let host = Platform::host();
    if !platforms.contains(&host) {
        platforms.push(host);
    }
    Ok(platforms)
}

/// The image of a layout is called as the context is.
fn layout_reference(name: &str) -> Result<Reference, Failure> {
    let name = name.split_once("::").map_or(name, |(name, _)| name);
    parse_reference(name).or_else(|_| parse_reference(&name.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_need_a_name_and_a_value_of_a_known_kind() {
        for text in [
            "a",
            "=b",
            "a=",
            "a=target:b",
            "a=s3://b",
            "a=docker-image://A B",
        ] {
            assert!(parse_one(text).is_err(), "{text}");
        }
    }
}
