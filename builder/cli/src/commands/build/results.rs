//! What a build leaves behind for scripts: the image's ID, the metadata file.

use crate::arguments::BuildArguments;
use crate::error::{Class, Failure};
use kiln_engine::{BuildOutcome, BuildRequest, Destination};
use serde_json::json;
use std::path::Path;

pub fn write(
    arguments: &BuildArguments,
    request: &BuildRequest,
    outcome: &BuildOutcome,
) -> Result<(), Failure> {
    let id = image_id(outcome);
    if let Some(path) = &arguments.iidfile {
        write_file(path, &id)?;
    }
    if let Some(path) = &arguments.metadata_file {
        let metadata = format!("{:#}\n", metadata(request, outcome));
        write_file(path, &metadata)?;
    }
    if arguments.quiet && !writes_to_standard_output(request) {
        crate::output::say!("{id}");
    }
    Ok(())
}

/// The digest of the configuration, as Docker has it; of the index for several platforms.
fn image_id(outcome: &BuildOutcome) -> String {
    match outcome.images.as_slice() {
        [image] => image.config.digest.to_string(),
        _ => outcome.target.digest.to_string(),
    }
}

fn metadata(request: &BuildRequest, outcome: &BuildOutcome) -> serde_json::Value {
    let names: Vec<String> = request.names.iter().map(ToString::to_string).collect();
    let mut metadata = json!({
        "buildx.build.ref": format!("kiln/{}", outcome.build_id),
        "containerimage.descriptor": outcome.target,
        "containerimage.digest": outcome.target.digest.to_string(),
    });
    if let [image] = outcome.images.as_slice() {
        metadata["containerimage.config.digest"] = image.config.digest.to_string().into();
    }
    if !names.is_empty() {
        metadata["image.name"] = names.join(",").into();
    }
    metadata
}

fn writes_to_standard_output(request: &BuildRequest) -> bool {
    request
        .outputs
        .iter()
        .any(|output| match &output.destination {
            Destination::Image { path, archive, .. } => *archive && path.is_none(),
            Destination::Tar(path) => path.is_none(),
            _ => false,
        })
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        Failure::caused(
            Class::Store,
            format!("cannot write {}", path.display()),
            &error,
        )
    })
}
