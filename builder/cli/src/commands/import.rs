//! `kiln import`: an archive of files as an image.

use crate::arguments::{GlobalArguments, ImportArguments};
use crate::error::{Class, Failure};
use crate::session::{Session, optional_platform, parse_reference};
use kiln_dockerfile::{
    CompileOptions, ImageResolver, ResolveError, ResolvedBase, SourceFile, compile, render,
};
use kiln_engine::disk::{LayerId, Store};
use kiln_oci::{ContainerConfig, HistoryEntry, ImageConfig, Platform, Reference};
use kiln_transfer::image;
use kiln_transfer::source::unpack_files;
use std::fs::File;

/// Instructions that say something of the image alone.
const CHANGES: [&str; 12] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

pub fn run(global: &GlobalArguments, arguments: &ImportArguments) -> Result<(), Failure> {
    let platform = optional_platform(arguments.platform.as_deref())?.unwrap_or_else(Platform::host);
    let name = arguments.name.as_deref().map(parse_reference).transpose()?;
    let container = changed(&arguments.change, &platform)?;
    let session = Session::open(global)?;
    let store = &session.store;
    let layer = unpack(store, arguments)?;
    let config = config(arguments, &platform, container)?;
    let image = image::assemble(store, config, &[layer], None)?;
    store.sync()?;
    if let Some(name) = &name {
        store.images().put(name, &image.manifest)?;
    }
    crate::output::say!("{}", image.config_descriptor.digest);
    Ok(())
}

fn unpack(store: &Store, arguments: &ImportArguments) -> Result<LayerId, Failure> {
    let path = &arguments.file;
    if path.as_os_str() == "-" {
        return Ok(unpack_files(store, std::io::stdin())?);
    }
    if path.is_dir() {
        let message = format!("{} is a directory, not an archive of files", path.display());
        return Err(Failure::new(Class::Usage, message).with_hint(
            "pack it: tar -C DIR -c . | kiln import - NAME; an OCI layout is brought in by \
             `kiln load -i DIR`",
        ));
    }
    let file = File::open(path).map_err(|error| {
        let message = format!("cannot open {}", path.display());
        let is_address = path.to_string_lossy().contains("://");
        Failure::caused(Class::Usage, message, &error).with_hint(match is_address {
            true => "addresses are not fetched: curl -fL ADDRESS | kiln import - NAME",
            false => "name an archive, or - for standard input",
        })
    })?;
    unpack_files(store, file)
        .map_err(|error| Failure::from(error).within(format!("cannot import {}", path.display())))
}

fn config(
    arguments: &ImportArguments,
    platform: &Platform,
    container: ContainerConfig,
) -> Result<ImageConfig, Failure> {
    let created = kiln_oci::timestamp(now()?);
    let source = match arguments.file.as_os_str() == "-" {
        true => "-".to_owned(),
        false => {
            let name = arguments.file.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        }
    };
    let message = arguments.message.clone();
    let history = HistoryEntry {
        created: created.clone(),
        comment: Some(message.unwrap_or_else(|| format!("Imported from {source}"))),
        ..HistoryEntry::default()
    };
    Ok(ImageConfig {
        created,
        config: container,
        history: vec![history],
        ..ImageConfig::new(platform)
    })
}

/// Returns the time that the image names: as the environment asks, so that others make the same.
fn now() -> Result<i64, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => text.parse().map_err(|_| {
            Failure::usage(format!("invalid SOURCE_DATE_EPOCH `{text}`"))
                .with_hint("write seconds since 1970")
        }),
        _ => Ok(crate::quantity::now()),
    }
}

/// Returns what the instructions make of the configuration of an empty image.
fn changed(changes: &[String], platform: &Platform) -> Result<ContainerConfig, Failure> {
    if changes.is_empty() {
        return Ok(ContainerConfig::default());
    }
    for change in changes {
        let word = change.split_whitespace().next().unwrap_or_default();
        let word = word.to_ascii_uppercase();
        if !CHANGES.contains(&word.as_str()) {
            return Err(
                Failure::usage(format!("`{change}` cannot be applied to an image"))
                    .with_hint(format!("instructions are {}", CHANGES.join(", "))),
            );
        }
    }
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let source = SourceFile::new("--change", text);
    let options = CompileOptions {
        platforms: vec![platform.clone()],
        ..CompileOptions::default()
    };
    let compiled = compile(&source, &options, &NoImages)
        .map_err(|findings| Failure::rendered(Class::Usage, render(&source, &findings.0, false)))?;
    let image = compiled.images.into_iter().next();
    let mut config = image.map_or_else(ContainerConfig::default, |image| image.config.config);
    if !changes.iter().any(|change| change.contains("PATH")) {
        // A build gives an image without a base a search path; an archive says itself what it has.
        config.env.retain(|variable| !variable.starts_with("PATH="));
    }
    Ok(config)
}

/// Nothing but `scratch` is started from.
struct NoImages;

impl ImageResolver for NoImages {
    fn resolve(&self, _: &Reference, _: &Platform) -> Result<ResolvedBase, ResolveError> {
        Err("an import starts from no image".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(changes: &[&str]) -> Result<ContainerConfig, Failure> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        changed(&changes, &Platform::host())
    }

    #[test]
    fn changes_are_instructions_of_a_dockerfile() {
        let changes = [
            "ENV A=1 B=2",
            "cmd [\"sh\"]",
            "EXPOSE 80",
            "LABEL a=b",
            "WORKDIR /w",
        ];
        let config = apply(&changes).unwrap();
        assert!(config.env.contains(&"B=2".to_owned()), "{:?}", config.env);
        assert_eq!(config.cmd, Some(vec!["sh".to_owned()]));
        assert!(config.exposed_ports.contains("80/tcp"));
        assert_eq!(
            (config.labels["a"].as_str(), config.working_dir.as_str()),
            ("b", "/w")
        );
    }

    #[test]
    fn changes_that_run_or_copy_are_refused() {
        for change in ["RUN true", "COPY a /", "FROM x", ""] {
            assert!(apply(&[change]).is_err(), "{change}");
        }
        assert!(apply(&["EXPOSE nonsense/x"]).is_err());
    }
}
