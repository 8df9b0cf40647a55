//! `kiln inspect`: images in detail, with the fields of `docker inspect`.

use super::images::{shown_size, time_of};
use crate::arguments::{GlobalArguments, InspectArguments};
use crate::commands::load::with_tag;
use crate::error::{Failure, fail_with_all};
use crate::listing;
use crate::lookup::{self, Found, image_id};
use crate::session::{Session, optional_platform};
use crate::template::Template;
use kiln_engine::disk::Store;
use kiln_oci::Platform;
use kiln_transfer::image::Image;
use kiln_transfer::images;
use serde_json::{Map, Value, json};

/// What is found is shown, though the command fails for what is not.
pub fn run(global: &GlobalArguments, arguments: &InspectArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let store = &session.store;
    let platform = optional_platform(arguments.platform.as_deref())?;
    let (mut objects, mut failures) = (Vec::new(), Vec::new());
    for name in &arguments.names {
        match inspect(store, name, platform.as_ref()) {
            Ok(found) => objects.extend(found),
            Err(failure) => failures.push(failure),
        }
    }
    if !objects.is_empty() {
        print(objects, arguments.format.as_deref())?;
    }
    fail_with_all(failures)
}

/// Returns an object for each image that `name` means.
fn inspect(store: &Store, name: &str, platform: Option<&Platform>) -> Result<Vec<Value>, Failure> {
    let found = lookup::find(store, name)?;
    let present = match platform {
        Some(_) => vec![found.image(store, platform)?],
        None => images::present(store, &found.target)?,
    };
    let is_single = present.len() == 1;
    let described = present
        .iter()
        .map(|image| describe(store, &found, image, is_single));
    described.collect()
}

fn print(objects: Vec<Value>, format: Option<&str>) -> Result<(), Failure> {
    match format {
        None => crate::output::say!("{:#}", Value::Array(objects)),
        Some("json") => crate::output::say!("{}", Value::Array(objects)),
        Some(format) => {
            let invalid = |error| listing::invalid(format, &error);
            let template = Template::parse(format).map_err(invalid)?;
            for object in &objects {
                crate::output::say!("{}", template.apply(object).map_err(invalid)?);
            }
        }
    }
    Ok(())
}

fn describe(
    store: &Store,
    found: &Found,
    image: &Image,
    is_single: bool,
) -> Result<Value, Failure> {
    let (tags, digests) = names(store, found)?;
    let id = match is_single {
        true => image_id(&found.target, std::slice::from_ref(image)),
        false => &image.config_descriptor.digest,
    };
    let config = &image.config;
    let diff_ids = image.layers.iter().map(|layer| layer.diff_id.0.to_string());
    let diff_ids: Vec<_> = diff_ids.collect();
    let comment = config.history.last().and_then(|last| last.comment.clone());
    Ok(json!({
        "Id": id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": comment.unwrap_or_default(),
        "Created": config.created,
        "Author": config.author.clone().unwrap_or_default(),
        "Config": container_config(image),
        "Architecture": config.architecture,
        "Variant": config.variant.clone().unwrap_or_default(),
        "Os": config.os,
        "OsVersion": config.os_version.clone().unwrap_or_default(),
        "Size": shown_size(store, image),
        "RootFS": { "Type": "layers", "Layers": diff_ids },
        "Metadata": { "LastTagTime": time_of(store, found)? },
        "Descriptor": found.target,
        "Platform": image.platform.to_string(),
        "Manifest": image.manifest,
        "Annotations": image.annotations,
        "Layers": layers(image),
        "History": config.history,
    }))
}

/// Returns the names of the image with tags and with its digest.
fn names(store: &Store, found: &Found) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for named in lookup::sound_images(store)? {
        if named.target.digest != found.target.digest {
            continue;
        }
        if named.name.digest().is_none() {
            tags.push(with_tag(&named.name));
        }
        let untagged = named.name.with_tag("latest").map(|name| name.familiar());
        digests.extend(untagged.map(|name| format!("{name}@{}", named.target.digest)));
    }
    digests.dedup();
    Ok((tags, digests))
}

/// The fields that scripts ask for are there even when an image says nothing of them.
fn container_config(image: &Image) -> Value {
    const TEXTS: [&str; 2] = ["User", "WorkingDir"];
    const OTHERS: [&str; 7] = [
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "Labels",
        "OnBuild",
    ];
    let config = serde_json::to_value(&image.config.config).unwrap_or_default();
    let mut known = match config {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    let mut config = Map::new();
    for key in TEXTS {
        let value = known.shift_remove(key).unwrap_or_else(|| json!(""));
        config.insert(key.to_owned(), value);
    }
    for key in OTHERS {
        let value = known.shift_remove(key).unwrap_or_default();
        config.insert(key.to_owned(), value);
    }
    config.extend(known);
    Value::Object(config)
}

fn layers(image: &Image) -> Vec<Value> {
    let layer = |layer: &kiln_transfer::image::ImageLayer| {
        json!({
            "DiffId": layer.diff_id.0.to_string(),
            "MediaType": layer.descriptor.media_type.as_str(),
            "Digest": layer.descriptor.digest.to_string(),
            "Size": layer.descriptor.size,
        })
    };
    image.layers.iter().map(layer).collect()
}
