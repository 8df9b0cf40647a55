//! Another command where one of the build ran: for those who want to look around.

use super::exec::{self, specification};
use super::step_root::StepRoot;
use super::{mounts, stack_of};
use crate::visit::{Visit, VisitCommand};
use crate::worker::{BuildWorker, Product};
use crate::{StepChange, StepError};
use kiln_disk::LayerId;
use kiln_plan::{Exec, Op, VertexId};
use kiln_sandbox::Outcome;

/// What is run when the step's own command does not say which shell it is for.
const SHELL: &str = "/bin/sh";
/// Says how the terminal is to be talked to.
const TERMINAL_KIND: &str = "TERM";

/// Runs the command of `visit` where `vertex` ran, over the layers `after` instead of its first
/// input where there are some. The layer that it writes to is thrown away.
pub(crate) fn enter(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    inputs: &[Product],
    after: Option<&[LayerId]>,
    visit: &Visit<'_>,
) -> Result<Outcome, StepError> {
    let Op::Exec(exec) = &worker.request.plan.vertex(vertex).op else {
        return Err(StepError::Scene("it runs no command".to_owned()));
    };
    exec::check_allowed(worker, exec)?;
    let root = exec.root.and_then(|_| inputs.first());
    let mounted = &inputs[usize::from(exec.root.is_some())..];
    let stack = match after {
        Some(stack) => stack,
        None => stack_of(root)?,
    };
    check_present(worker, stack)?;
    let layer = worker.store.layers().begin()?;
    let mounts = mounts::prepare(worker, vertex, exec, mounted)?;
    let root = StepRoot::prepare(worker, stack)?;
    let mut spec = specification(worker, exec, stack, (&layer, &root), &mounts)?;
    spec.emulators = worker.emulators(exec)?;
    spec.arguments = arguments(exec, visit);
    let Some(terminal) = &visit.terminal else {
        let show = |bytes| worker.tell(vertex, StepChange::Output(bytes));
        return exec::run_masked(worker, &spec, show);
    };
    let kind = std::env::var(TERMINAL_KIND).unwrap_or_else(|_| "dumb".to_owned());
    spec.environment.push(format!("{TERMINAL_KIND}={kind}"));
    let outcome = worker
        .sandbox()?
        .run_on_terminal(&spec, terminal, worker.cancellation);
    outcome.map_err(exec::failure)
}

/// The store keeps what can be used again; to be looked at, files are kept as long as there is
/// room.
fn check_present(worker: &BuildWorker<'_>, stack: &[LayerId]) -> Result<(), StepError> {
    for layer in stack {
        if !worker.store.layers().lease(layer)? {
            return Err(StepError::FilesGone);
        }
    }
    Ok(())
}

fn arguments(exec: &Exec, visit: &Visit<'_>) -> Vec<String> {
    match visit.command {
        VisitCommand::Shell => shell_of(exec),
        VisitCommand::Script(script) => {
            let mut arguments = shell_of(exec);
            arguments.extend(["-c".to_owned(), script.to_owned()]);
            arguments
        }
        VisitCommand::Program(arguments) => arguments.to_vec(),
    }
}

/// Returns the shell that the command of `exec` is for, if it is for one, without the options
/// that it has for scripts.
fn shell_of(exec: &Exec) -> Vec<String> {
    let is_for_script = |option: &String| option.starts_with('-') && option.ends_with('c');
    match exec.arguments.as_slice() {
        [shell @ .., option, _] if is_for_script(option) && !shell.is_empty() => {
            let program = shell.iter().take_while(|word| !word.starts_with('-'));
            program.cloned().collect()
        }
        _ => vec![SHELL.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(arguments: &[&str]) -> Exec {
        Exec {
            root: None,
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            environment: Vec::new(),
            proxy_environment: Vec::new(),
            working_directory: "/".to_owned(),
            user: String::new(),
            mounts: Vec::new(),
            network: kiln_plan::NetworkMode::Default,
            security: kiln_plan::SecurityMode::Sandbox,
            hostname: String::new(),
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size_bytes: None,
            devices: Vec::new(),
            platform: None,
        }
    }

    #[test]
    fn shell_is_that_of_the_step_or_the_usual_one() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&["/bin/ash", "-c", "make"], &["/bin/ash"]),
            (
                &["/bin/bash", "-o", "pipefail", "-ec", "make"],
                &["/bin/bash"],
            ),
            (
                &["/bin/busybox", "sh", "-c", "make"],
                &["/bin/busybox", "sh"],
            ),
            (&["make", "-j4"], &[SHELL]),
            (&["make"], &[SHELL]),
        ];
        for (arguments, shell) in cases {
            assert_eq!(shell_of(&exec(arguments)), shell, "{arguments:?}");
        }
    }
}
