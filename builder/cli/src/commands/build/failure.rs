//! A failed build, told with the lines of the Dockerfile and the end of the output.

mod excerpt;
mod place;
mod remote;
mod said;
mod script;

use super::inputs::Inputs;
use crate::error::{Failure, class_of};
use kiln_dockerfile::Diagnostic;
use kiln_engine::sandbox::SandboxError;
use kiln_engine::{BuildError, BuildRequest, CdiError, Event, StepChange, StepError};
use kiln_plan::{Op, SourceLocation, VertexId};
use place::{Ending, Place};
use script::Script;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Bytes of output kept of each step.
const TAIL_BYTES: usize = 8 * 1024;
/// Lines of output shown of a failed step.
const SHOWN_LINES: usize = 20;

/// The end of each step's output.
#[derive(Default)]
pub struct Tails(Mutex<HashMap<VertexId, Vec<u8>>>);

impl Tails {
    /// Keeps what `event` says of a step's output.
    pub fn watch(&self, event: &Event) {
        if let Event::Step {
            vertex,
            change: StepChange::Output(bytes),
        } = event
        {
            let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let tail = tails.entry(*vertex).or_default();
            tail.extend_from_slice(bytes);
            let surplus = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..surplus);
        }
    }

    fn lines(&self, vertex: VertexId) -> Vec<String> {
        let tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = tails
            .get(&vertex)
            .map(|tail| String::from_utf8_lossy(tail).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.len().saturating_sub(SHOWN_LINES);
        lines[shown..]
            .iter()
            .map(|line| crate::progress::sanitized(line))
            .collect()
    }
}

/// Returns whether a finding is about an image that cannot be had, not about the text.
pub fn is_about_an_image(diagnostic: &Diagnostic) -> bool {
    diagnostic.code.0 == "ImageNotResolved"
}

/// Returns the failure to show for `error`.
pub fn of_build(
    error: BuildError,
    request: &BuildRequest,
    inputs: &Inputs,
    tails: &Tails,
) -> Failure {
    let BuildError::Steps(steps) = error else {
        return Failure::from(error);
    };
    let told = steps
        .iter()
        .filter(|(_, error)| !matches!(error, StepError::Cancelled));
    let mut excerpt = String::new();
    for (vertex, error) in told.clone().skip(1).chain(told.clone().take(1)) {
        add_excerpt(&mut excerpt, *vertex, error, request, inputs, tails);
    }
    let Some((vertex, first)) = told.clone().next() else {
        return Failure::from(BuildError::Cancelled);
    };
    let name = &request.plan.vertex(*vertex).metadata.name;
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = Failure::caused(class_of(first), format!("{name} failed"), first);
    let failure = failure.with_excerpt(excerpt);
    match hint(first) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// Returns the failure of fetching a source before there is a plan.
pub fn of_source(error: BuildError, request: &BuildRequest) -> Failure {
    let BuildError::Steps(steps) = error else {
        return Failure::from(error);
    };
    let told = steps
        .iter()
        .find(|(_, error)| !matches!(error, StepError::Cancelled));
    let Some((vertex, first)) = told else {
        return Failure::from(BuildError::Cancelled);
    };
    let name = &request.plan.vertex(*vertex).metadata.name;
    let failure = Failure::caused(class_of(first), format!("{name} failed"), first);
    match hint(first) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

fn hint(error: &StepError) -> Option<String> {
    match error {
        StepError::Exit { code: 127, .. } => {
            Some("a program was not found: is its package installed in this stage?".to_owned())
        }
        StepError::Exit { code: 126, .. } => {
            Some("a file could not be executed: look at its mode and its architecture".to_owned())
        }
        StepError::Copy(kiln_engine::CopyError::Changed { .. }) => Some(
            "leave files that change all the time out of the context, by .dockerignore".to_owned(),
        ),
        StepError::Copy(kiln_engine::CopyError::SourceMissing { .. }) => Some(
            "sources are relative to the build context, or with --from to the root of that stage"
                .to_owned(),
        ),
        StepError::NotGiven { what, name } => match *what {
            "secret" => Some(format!("give it with --secret id={name},src=FILE")),
            "SSH agent" => Some(format!("give it with --ssh {name}")),
            _ => Some("name a directory as the context of the build".to_owned()),
        },
        StepError::Sandbox(SandboxError::Exec { program, source })
            if source.kind() == std::io::ErrorKind::NotFound && program == "/bin/sh" =>
        {
            Some(
                "the stage has no shell: start from an image that has one, or write the command \
                 as JSON, such as RUN [\"/program\", \"argument\"]"
                    .to_owned(),
            )
        }
        StepError::Emulation(error) => Some(error.hint()),
        StepError::Device(CdiError::NotFound { .. }) => Some(
            "look at the descriptions in that directory, or name another with --cdi-spec-dir"
                .to_owned(),
        ),
        StepError::Fetch(error) => remote::hint(error),
        StepError::NotAllowed { flag, .. } => Some(format!("allow it with {flag}")),
        StepError::Sandbox(
            SandboxError::NoPrivateNetwork { .. } | SandboxError::Network { .. },
        )
        | StepError::NoHostGateway { .. } => Some(
            "`kiln info` tells which networks there are; --network=host gives steps the host's"
                .to_owned(),
        ),
        StepError::Signal {
            remark: Some(remark),
            ..
        }
        | StepError::Exit {
            remark: Some(remark),
            ..
        } => Some(remedy_of(remark).to_owned()),
        StepError::Exit { .. } | StepError::Signal { .. } => {
            Some("`kiln debug` opens a shell in it, as it was when it failed".to_owned())
        }
        _ => None,
    }
}

/// What helps against what ended a step.
fn remedy_of(remark: &str) -> &'static str {
    if remark.contains("processes") {
        "allow more with --pids-limit, or start fewer"
    } else if remark.contains("disk") {
        "make room on the disk; `kiln prune` removes what no build has used for long"
    } else {
        "give the build more memory with --memory, or use less"
    }
}

fn add_excerpt(
    text: &mut String,
    vertex: VertexId,
    error: &StepError,
    request: &BuildRequest,
    inputs: &Inputs,
    tails: &Tails,
) {
    let lines = tails.lines(vertex);
    if !lines.is_empty() {
        text.push_str("------ last lines of output\n");
        lines
            .iter()
            .for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str("------\n");
    }
    let Some(location) = &request.plan.vertex(vertex).metadata.location else {
        return;
    };
    let place = place_of(vertex, error, location, request, inputs, &lines);
    excerpt::add(text, location, place.as_ref(), inputs.dockerfile.text());
}

/// Returns where in an instruction of several words the command failed.
fn place_of(
    vertex: VertexId,
    error: &StepError,
    location: &SourceLocation,
    request: &BuildRequest,
    inputs: &Inputs,
    output: &[String],
) -> Option<Place> {
    let Op::Exec(exec) = &request.plan.vertex(vertex).op else {
        return None;
    };
    let (program, options) = exec.arguments.split_first()?;
    let script = Script::at(&inputs.dockerfile, location.first_line)?;
    match error {
        StepError::Exit { code, .. } => {
            let ending = Ending {
                program,
                options,
                code: *code,
                output,
            };
            place::find(&script, ending)
        }
        StepError::Sandbox(SandboxError::Exec { program, .. }) => {
            place::of_program(&script, program)
        }
        _ => None,
    }
}
