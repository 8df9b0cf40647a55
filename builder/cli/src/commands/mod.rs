//! The commands, one module each.

pub mod build;
mod cache_mount;
mod call;
mod check;
mod debug;
mod du;
mod explain;
mod images;
mod info;
mod inspect;
mod prune;
mod pull;
mod push;
mod rmi;
mod store;
mod tag;

use crate::arguments::{Arguments, Command};
use crate::error::Failure;

/// Carries out the command that `arguments` name.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Build(build) => build::run(global, build),
        Command::Check(check) => check::run(global, check),
        Command::Explain(explain) => explain::run(global, explain),
        Command::Debug(debug) => debug::run(global, debug),
        Command::Pull(pull) => pull::run(global, pull),
        Command::Push(push) => push::run(global, push),
        Command::Images(images) => images::run(global, images),
        Command::Inspect(inspect) => inspect::run(global, inspect),
        Command::Tag(tag) => tag::run(global, tag),
        Command::Rmi(remove) => rmi::run(global, remove),
        Command::Du(du) => du::run(global, du),
        Command::Prune(prune) => prune::run(global, prune),
        Command::CacheMount(command) => cache_mount::run(global, command),
        Command::Store(store) => store::run(global, store),
        Command::Info => info::run(global),
    }
}
