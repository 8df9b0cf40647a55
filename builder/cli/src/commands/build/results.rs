//! What a build leaves behind for scripts: the image's ID, the metadata file.

mod warnings;

use crate::arguments::BuildArguments;
use crate::error::{Class, Failure};
use kiln_dockerfile::{Diagnostics, SourceFile};
use kiln_engine::{BuildOutcome, BuildRequest, Destination};
use kiln_oci::Descriptor;
use kiln_transfer::push::Naming;
use serde_json::json;
use std::collections::HashSet;
use std::path::Path;

pub fn write(
    arguments: &BuildArguments,
    request: &BuildRequest,
    outcome: &BuildOutcome,
    (dockerfile, warnings): (&SourceFile, &Diagnostics),
) -> Result<(), Failure> {
    let id = image_id(outcome);
    if let Some(path) = &arguments.iidfile {
        write_file(path, &id)?;
    }
    if let Some(path) = &arguments.metadata_file {
        let mut metadata = metadata(request, outcome);
        if warnings::are_asked_for() && !warnings.0.is_empty() {
            metadata["buildx.build.warnings"] = warnings::list(dockerfile, warnings);
        }
        write_file(path, &format!("{metadata:#}\n"))?;
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
        _ => descriptor(outcome).digest.to_string(),
    }
}

/// What others find the image by: the manifest or index that went out, else that of the store.
fn descriptor(outcome: &BuildOutcome) -> &Descriptor {
    outcome.exported.as_ref().unwrap_or(&outcome.target)
}

fn metadata(request: &BuildRequest, outcome: &BuildOutcome) -> serde_json::Value {
    let names = names(request, outcome);
    let mut metadata = json!({
        "buildx.build.ref": format!("kiln/{}", outcome.build_id),
        "containerimage.descriptor": descriptor(outcome),
        "containerimage.digest": descriptor(outcome).digest.to_string(),
    });
    if let [image] = outcome.images.as_slice() {
        metadata["containerimage.config.digest"] = image.config.digest.to_string().into();
    }
    if !names.is_empty() {
        metadata["image.name"] = names.join(",").into();
    }
    metadata
}

/// The names of the image, in the store and elsewhere; with its digest where it has no tag.
fn names(request: &BuildRequest, outcome: &BuildOutcome) -> Vec<String> {
    let mut names: Vec<String> = request.names.iter().map(ToString::to_string).collect();
    for output in &request.outputs {
        let by_digest = matches!(output.destination, Destination::Registry(Naming::Digest));
        names.extend(output.names.iter().map(|name| match by_digest {
            true => format!("{name}@{}", descriptor(outcome).digest),
            false => name.clone(),
        }));
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
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
