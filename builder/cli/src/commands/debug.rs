//! `kiln debug`: a shell, or another command, in a step of a build.
//!
//! It sees what the step saw: its files, its mounts, its user, its environment. What it changes
//! is gone when it ends.

use super::build::{options, start};
use super::explain::{find, is_meant};
use crate::arguments::{BuildArguments, DebugArguments, GlobalArguments};
use crate::configuration;
use crate::error::{Class, Failure};
use crate::session::Session;
use kiln_engine::disk::{BuildRecord, Scene, StepEnd, StepOutcome, StepRecord};
use kiln_engine::explain::explain;
use kiln_engine::sandbox::{CallerTerminal, Cancellation, Status, host};
use kiln_engine::{BuildRequest, Builder, EngineOptions, Event, Moment, StepChange, Visit};
use kiln_plan::Plan;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;

/// More than that is no script that somebody wrote.
const MOST_SCRIPT_BYTES: u64 = 1 << 20;

pub fn run(global: &GlobalArguments, arguments: &DebugArguments) -> Result<(), Failure> {
    let (session, cancellation) = start(global)?;
    let build = find(&session.store, arguments.build.as_deref())?;
    let (step, scene) = chosen(&session, &build, arguments.step.as_deref())?;
    let moment = match arguments.before {
        true => Moment::Before,
        false => Moment::After,
    };
    let place = Place {
        step,
        scene,
        moment,
    };
    let request = request(global, arguments)?;
    place.enter(&session, request, &arguments.command, &cancellation)
}

/// Returns what the step may have: what the flags give.
fn request(global: &GlobalArguments, arguments: &DebugArguments) -> Result<BuildRequest, Failure> {
    let given = BuildArguments {
        secret: arguments.secret.clone(),
        ssh: arguments.ssh.clone(),
        ..BuildArguments::of_context(".".to_owned())
    };
    let allows = |name: &str| arguments.allow.iter().any(|allowed| allowed == name);
    Ok(BuildRequest {
        secrets: options::secrets(&given)?,
        ssh_agents: options::ssh_agents(&given)?,
        device_directories: options::device_directories(&given),
        allow_insecure: allows("security.insecure"),
        network: configuration::usual_network(global)?,
        ..BuildRequest::of_plan(Plan::default(), 1)
    })
}

/// Returns the step that `wanted` means, else the one that failed.
fn chosen<'b>(
    session: &Session,
    build: &'b BuildRecord,
    wanted: Option<&str>,
) -> Result<(&'b StepRecord, &'b Scene), Failure> {
    let found = match wanted {
        None => failed_step(build).into_iter().collect::<Vec<_>>(),
        Some(wanted) => build
            .steps
            .iter()
            .zip(explain(build, &session.store))
            .filter(|(_, explanation)| is_meant(explanation, wanted))
            .map(|(step, _)| step)
            .collect(),
    };
    let with_scene: Vec<_> = found
        .iter()
        .filter_map(|step| Some((*step, step.scene.as_ref()?)))
        .collect();
    match (with_scene.as_slice(), wanted) {
        ([one], _) => Ok(*one),
        ([], None) => Err(refusal(build, "has no failed step to enter")),
        ([], Some(wanted)) if found.is_empty() => {
            Err(refusal(build, &format!("has no step `{wanted}`")))
        }
        ([], Some(wanted)) => Err(refusal(
            build,
            &format!("runs no command in step `{wanted}`"),
        )),
        (_, wanted) => {
            let wanted = wanted.unwrap_or_default();
            Err(refusal(build, &format!("has several steps `{wanted}`")))
        }
    }
}

/// Returns the step that failed and left something to look at.
pub fn failed_step(build: &BuildRecord) -> Option<&StepRecord> {
    let has_left = |step: &&StepRecord| {
        let is_failed = |end: &StepEnd| *end == StepEnd::Failed;
        matches!(&step.outcome, StepOutcome::Ran { end, .. } if is_failed(end))
            && step
                .scene
                .as_ref()
                .is_some_and(|scene| scene.after.is_some())
    };
    build.steps.iter().find(has_left)
}

/// Says which steps there are to enter.
fn refusal(build: &BuildRecord, what: &str) -> Failure {
    let with_scene = build.steps.iter().filter(|step| step.scene.is_some());
    let names: Vec<String> = with_scene
        .map(|step| match step.line {
            Some(line) => format!("    :{line}  {}", step.name),
            None => format!("    {}", step.name),
        })
        .collect();
    let failure = Failure::new(Class::Usage, format!("build {} {what}", build.id));
    match names.is_empty() {
        true => failure.with_hint("only steps that run commands can be entered"),
        false => failure.with_hint(format!(
            "name one of these by its line or its number:\n{}",
            names.join("\n")
        )),
    }
}

/// A step to be entered.
pub struct Place<'a> {
    pub step: &'a StepRecord,
    pub scene: &'a Scene,
    pub moment: Moment,
}

impl Place<'_> {
    /// Runs `command` there; a shell when it is empty, which reads standard input if that is no
    /// terminal. Fails with the exit code of what it ran.
    pub fn enter(
        &self,
        session: &Session,
        request: BuildRequest,
        command: &[String],
        cancellation: &Cancellation,
    ) -> Result<(), Failure> {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        let has_terminal = input.is_terminal() && output.is_terminal();
        let script = match (command.is_empty(), has_terminal) {
            (true, false) => Some(script()?),
            _ => None,
        };
        let terminal = has_terminal.then(|| CallerTerminal {
            input: input.as_fd(),
            output: output.as_fd(),
        });
        if has_terminal {
            self.announce();
        }
        let visit = Visit {
            name: &self.step.name,
            moment: self.moment,
            command: match &script {
                Some(script) => kiln_engine::VisitCommand::Script(script),
                None if command.is_empty() => kiln_engine::VisitCommand::Shell,
                None => kiln_engine::VisitCommand::Program(command),
            },
            terminal,
        };
        let engine = EngineOptions {
            probe: host::probe,
            limits: Default::default(),
            remotes: session.remotes.clone(),
        };
        let builder = Builder::new(&session.store, &session.client, engine)?;
        let ended = builder.enter(request, self.scene, &visit, cancellation, &show);
        match ended.map_err(explained)?.status {
            Status::Exited(0) => Ok(()),
            Status::Exited(code) => Err(ended_with(code)),
            Status::Signalled(signal) => Err(ended_with(128 + signal)),
        }
    }

    fn announce(&self) {
        let moment = match (self.moment, &self.step.outcome) {
            (Moment::Before, _) => "as it was before its command ran",
            (
                Moment::After,
                StepOutcome::Ran {
                    end: StepEnd::Failed,
                    ..
                },
            ) => "as it was when it failed",
            (Moment::After, _) => "as its command left it",
        };
        crate::output::tell!("entering {}, {moment}", self.step.name);
        crate::output::tell!("what changes there is gone afterwards; `exit` leaves");
    }
}

/// Returns what standard input says.
fn script() -> Result<String, Failure> {
    let mut script = String::new();
    std::io::stdin()
        .take(MOST_SCRIPT_BYTES)
        .read_to_string(&mut script)
        .map_err(|error| Failure::caused(Class::Usage, "cannot read standard input", &error))?;
    Ok(script)
}

fn show(event: Event) {
    if let Event::Step {
        change: StepChange::Output(bytes),
        ..
    } = event
    {
        let mut output = std::io::stdout().lock();
        // Whoever does not listen any more needs not be told.
        let _ = output.write_all(&bytes).and_then(|()| output.flush());
    }
}

fn ended_with(code: i32) -> Failure {
    Failure::silent(Class::Command(u8::try_from(code).unwrap_or(255)))
}

/// The error of the step alone: what was asked for is known.
fn explained(error: kiln_engine::BuildError) -> Failure {
    let kiln_engine::BuildError::Steps(mut steps) = error else {
        return Failure::from(error);
    };
    let Some((_, error)) = steps.pop() else {
        return Failure::cancelled();
    };
    let failure = Failure::from_error(crate::error::class_of(&error), &error);
    match error {
        kiln_engine::StepError::FilesGone => failure
            .with_hint("build again: the files of failed steps are kept as long as there is room"),
        kiln_engine::StepError::Sandbox(_) => {
            failure.with_hint("name a program that is there: kiln debug STEP -- PROGRAM")
        }
        kiln_engine::StepError::NotGiven { .. } => {
            failure.with_hint("give it again: kiln debug --secret id=ID,src=FILE, --ssh default")
        }
        _ => failure,
    }
}
