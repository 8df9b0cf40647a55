//! The hidden mode: this program as the first processes of a sandbox.
//!
//! The program is started once, as the *server*, which forks a process for each run, the
//! *watcher*. That lies outside the new process namespace; it kills process 1 when the
//! caller is gone or asks for it. *Process 1* sets the sandbox up, forks the *command*,
//! and reaps. What step leads to what is the caller's list, see [`kiln_runspec::steps`].

mod command;
mod confine;
mod device;
mod emulate;
mod emulators;
mod mount;
mod network;
mod overlay;
mod perform;
mod process;
pub(crate) mod procfs;
pub(crate) mod resolve;
mod root;
mod serve;
mod sockets;
mod users;
mod waiting;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use kiln_runspec::SetupStep;
use rustix::process::{DumpableBehavior, Signal};

use crate::error::StepFailure;
use crate::protocol::{self, Report};
use crate::syscall::{self, Fork};
use emulate::Watcher;
use perform::Context;
use waiting::{Asking, Waiting};

/// First argument of the hidden mode.
pub(crate) const HIDDEN_ARGUMENT: &str = "kiln-sandbox-init";

/// Names the control group that is entered first.
pub(crate) const GROUP_VARIABLE: &str = "KILN_SANDBOX_GROUP";

/// Returns whether this process was started as a sandbox's first one.
pub fn is_requested() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == HIDDEN_ARGUMENT)
}

/// Serves those who want sandboxes; never returns. Each is set up by a process of its own,
/// which ends with it.
///
/// Must be called before this process starts a thread.
pub fn run_init() -> ! {
    let Ok(requests) = prepare() else {
        syscall::exit_now(125)
    };
    // Before there is anything to do: this takes long, and holds for all that is forked.
    let group = std::env::var_os(GROUP_VARIABLE);
    let joined = group.map_or(Ok(()), |group| {
        perform::join_control_group(Path::new(&group))
    });
    let control = serve::serve(requests);
    let Err(failure) = joined.and_then(|()| set_up(&control));
    report(&control, &Report::SetupFailed(failure));
    syscall::exit_now(125)
}

fn set_up(control: &UnixStream) -> Result<Never, StepFailure> {
    let (steps, filter) =
        protocol::receive_setup(control).map_err(failed("read the steps of the sandbox"))?;
    let mut context = Context::new(filter);
    if steps.iter().any(takes_network) {
        let network = syscall::receive_descriptor(control);
        context.network = network.map_err(failed("be handed a network"))?;
    }
    carry_out(&steps, context, control)
}

fn takes_network(step: &SetupStep) -> bool {
    matches!(step, SetupStep::JoinNetwork | SetupStep::ShowNetwork { .. })
}

/// Takes the control socket from standard input and hides from those inside.
fn prepare() -> io::Result<UnixStream> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_name(c"kiln-init")?;
    procfs::give_up_protection()?;
    let control: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    syscall::close_leaked_descriptors(control.as_fd());
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(UnixStream::from(control))
}

enum Never {}

fn carry_out(
    steps: &[SetupStep],
    mut context: Context,
    control: &UnixStream,
) -> Result<Never, StepFailure> {
    for step in steps {
        match step {
            SetupStep::ForkInit => fork_init(control)?,
            SetupStep::ForkCommand => fork_command(&mut context, control)?,
            SetupStep::Exec {
                arguments,
                environment,
            } => {
                let failure = command::execute(arguments, environment);
                report(control_of(&context, control), &failure);
                syscall::exit_now(127)
            }
            other => perform_one(other, &mut context)?,
        }
    }
    Err(StepFailure {
        action: "execute a command: none was given".to_owned(),
        errno: libc::EINVAL,
    })
}

fn perform_one(step: &SetupStep, context: &mut Context) -> Result<(), StepFailure> {
    let result = perform::perform(step, context);
    if let (Err(failure), Some(init)) = (&result, &context.exec_report) {
        // The command's failures go to process 1, which waits for them.
        report(init, &Report::SetupFailed(failure.clone()));
        syscall::exit_now(127)
    }
    result
}

fn control_of<'a>(context: &'a Context, control: &'a UnixStream) -> &'a UnixStream {
    context.exec_report.as_ref().unwrap_or(control)
}

fn fork_init(control: &UnixStream) -> Result<(), StepFailure> {
    match syscall::fork().map_err(failed("fork process 1"))? {
        Fork::Parent(init) => process::watch(init, control),
        Fork::Child => {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(|error| failed("watch the parent process")(error.into()))?;
            Ok(())
        }
    }
}

fn fork_command(context: &mut Context, control: &UnixStream) -> Result<(), StepFailure> {
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket for reports"))?;
    let asks = context.asks() && !context.is_subreaper;
    let (asking, answering) = match asks {
        true => {
            let (asking, answering) = be_asked(context).map_err(failed("wait for questions"))?;
            (Some(asking), Some(answering))
        }
        false => (None, None),
    };
    match syscall::fork().map_err(failed("fork the command"))? {
        Fork::Parent(command) if context.is_subreaper => {
            drop(theirs);
            process::keep(command, ours, control)
        }
        Fork::Parent(command) => {
            drop((theirs, answering));
            process::reap(
                command,
                ours,
                control,
                Waiting::new(asking),
                std::mem::take(&mut context.stubs),
            )
        }
        Fork::Child => {
            if context.is_subreaper {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                    .map_err(|error| failed("watch the parent process")(error.into()))?;
            }
            context.exec_report = Some(theirs);
            drop(asking);
            context.answering = answering;
            syscall::reset_signals();
            Ok(())
        }
    }
}

/// Returns what answers the command's filter, and where the command hands that over.
fn be_asked(context: &Context) -> io::Result<(Asking, UnixStream)> {
    let (questions, answering) = UnixStream::pair()?;
    let asking = Asking {
        // Before there is a child whose end could be missed.
        children: syscall::child_signals()?,
        questions,
        watcher: Watcher::new(crate::host::architecture(), &context.first_user)?,
    };
    Ok((asking, answering))
}

/// Returns what turns an error into the failure of `action`.
fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> StepFailure {
    let action = action.into();
    move |error| StepFailure {
        action,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Nobody is left to tell when this fails.
fn report(control: &UnixStream, report: &Report) {
    let _ = protocol::send_report(control, report);
}
