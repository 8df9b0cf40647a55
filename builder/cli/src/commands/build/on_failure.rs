//! `--on-failure`: what is done with the step that made a build fail.

use crate::arguments::{BuildArguments, OnFailure};
use crate::commands::debug::{Place, failed_step};
use crate::error::{Class, Failure};
use crate::session::Session;
use kiln_engine::disk::BuildRecord;
use kiln_engine::sandbox::Cancellation;
use kiln_engine::{BuildOutcome, BuildRequest, Moment};
use std::path::Path;

/// Does what `arguments` ask for after `failure`, and returns the failure. It is told before.
pub fn act(
    session: &Session,
    arguments: &BuildArguments,
    request: &BuildRequest,
    failure: Failure,
) -> Result<BuildOutcome, Failure> {
    let Some(action) = &arguments.on_failure else {
        return Err(failure);
    };
    let Some(build) = session.store.builds().get(&request.build_id)? else {
        return Err(failure);
    };
    if failed_step(&build).is_none() {
        return Err(failure);
    }
    failure.report();
    match action {
        OnFailure::Shell => shell(session, &build, request)?,
        OnFailure::Export(directory) => export(session, &build, directory)?,
    }
    Err(Failure::silent(Class::Step))
}

/// How the shell ends says nothing of the build.
fn shell(session: &Session, build: &BuildRecord, request: &BuildRequest) -> Result<(), Failure> {
    let step = failed_step(build);
    let Some((step, scene)) = step.and_then(|step| Some((step, step.scene.as_ref()?))) else {
        return Ok(());
    };
    // That of the build was used to end the steps beside the failed one.
    let cancellation =
        Cancellation::new().map_err(|error| Failure::from_error(Class::Store, &error))?;
    let place = Place {
        step,
        scene,
        moment: Moment::After,
    };
    if let Err(failure) = place.enter(session, request.clone(), &[], &cancellation) {
        failure.report();
    }
    Ok(())
}

fn export(session: &Session, build: &BuildRecord, directory: &Path) -> Result<(), Failure> {
    let scene = failed_step(build).and_then(|step| step.scene.as_ref());
    let Some(left) = scene.and_then(|scene| scene.after.as_deref()) else {
        return Ok(());
    };
    kiln_engine::export_files(&session.store, left, directory)?;
    crate::output::tell!(
        "the files of the failed step are in {}",
        directory.display()
    );
    Ok(())
}
