//! The kiln command: arguments, progress, messages, exit codes.
//!
//! `main` first answers when this program was started as the first process of a sandbox,
//! then becomes root of a user namespace if it is not root; both must happen while there is
//! one thread. All else is a command of [`commands`].

mod arguments;
mod collect;
mod commands;
mod configuration;
mod error;
mod filters;
mod interrupt;
mod listing;
mod lookup;
mod output;
mod progress;
mod quantity;
mod resolver;
mod session;
mod table;
mod template;

use arguments::Arguments;
use clap::Parser;
use error::{Class, Failure};
use kiln_engine::sandbox::host::WITHOUT_A_RUNG;
use std::process::ExitCode;

fn main() -> ExitCode {
    if kiln_engine::sandbox::init::is_requested() {
        kiln_engine::sandbox::init::run_init();
    }
    let arguments = Arguments::parse();
    match run(&arguments).and_then(|()| check_output()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => collect::advise(&arguments.global, failure).report(),
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    raise_open_files_limit();
    if matches!(arguments.command, arguments::Command::Completion(_)) {
        // It needs nothing of the machine.
        return commands::run(arguments);
    }
    // In a user namespace nobody can tell whose the store is.
    if let Ok(root) = session::root(&arguments.global) {
        kiln_engine::disk::Store::check_owner(&root)?;
    }
    match kiln_engine::sandbox::user_namespace::enter_if_unprivileged() {
        Ok(entered) => session::warn_about(&entered),
        // It tells what is missing.
        Err(_) if matches!(arguments.command, arguments::Command::Info) => {}
        Err(error) => return Err(Failure::from(error).with_hint(WITHOUT_A_RUNG)),
    }
    commands::run(arguments)
}

/// Results that could not be written make the command fail.
fn check_output() -> Result<(), Failure> {
    match output::failure() {
        None => Ok(()),
        Some(error) => Err(Failure::caused(
            Class::Store,
            "cannot write to standard output",
            error,
        )),
    }
}

/// Files that this process may open: file trees keep a handle per layer and directory in use,
/// and 1,024, which is usual, is too few for several large steps at once.
const OPEN_FILES: u64 = 65_536;

fn raise_open_files_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // With fewer the build may still succeed; what fails will say so.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
