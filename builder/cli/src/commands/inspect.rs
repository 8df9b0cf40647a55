//! `kiln inspect`: manifest, configuration and layers of images as JSON.

use crate::arguments::{GlobalArguments, InspectArguments};
use crate::error::{Class, Failure};
use crate::session::{Session, named_image, parse_platform, parse_reference};
use kiln_transfer::image::{self, Image};
use serde_json::{Value, json};

pub fn run(global: &GlobalArguments, arguments: &InspectArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let platform = arguments
        .platform
        .as_deref()
        .map(parse_platform)
        .transpose()?;
    let mut objects = Vec::new();
    for name in &arguments.names {
        let named = named_image(&session.store, &parse_reference(name)?)?;
        let images = match &platform {
            Some(platform) => vec![image::load(&session.store, &named.target, Some(platform))?],
            None => image::load_all(&session.store, &named.target)?,
        };
        for image in images {
            objects.push(describe(&named.name.to_string(), &image)?);
        }
    }
    let text = serde_json::to_string_pretty(&objects)
        .map_err(|error| Failure::from_error(Class::Store, &error))?;
    crate::output::say!("{text}");
    Ok(())
}

fn describe(name: &str, image: &Image) -> Result<Value, Failure> {
    let config: Value = serde_json::from_slice(&image.config.to_bytes())
        .map_err(|error| Failure::from_error(Class::Store, &error))?;
    let layers: Vec<Value> = image
        .layers
        .iter()
        .map(|layer| {
            json!({
                "diff_id": layer.diff_id.0.to_string(),
                "media_type": layer.descriptor.media_type.as_str(),
                "digest": layer.descriptor.digest.to_string(),
                "size": layer.descriptor.size,
            })
        })
        .collect();
    Ok(json!({
        "name": name,
        "id": image.config_descriptor.digest.to_string(),
        "manifest": image.manifest.digest.to_string(),
        "platform": image.platform.to_string(),
        "layers": layers,
        "config": config,
    }))
}
