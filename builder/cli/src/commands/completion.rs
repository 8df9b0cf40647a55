//! `kiln completion`: a script for a shell.

use crate::arguments::{Arguments, CompletionArguments};
use crate::error::Failure;
use clap::CommandFactory;

pub fn run(arguments: &CompletionArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "kiln", &mut script);
    crate::output::write(format_args!("{}", String::from_utf8_lossy(&script)));
    Ok(())
}
