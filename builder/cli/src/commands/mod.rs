//! The commands, one module each.

mod binfmt;
pub mod build;
mod cache_mount;
mod call;
mod check;
mod completion;
mod copy;
mod debug;
pub mod diff;
mod du;
mod explain;
mod export;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod load;
mod login;
mod manifest;
mod prune;
mod pull;
mod push;
mod rmi;
mod save;
mod store;
mod tag;
mod tags;

use crate::arguments::{Arguments, Command, GlobalArguments, ImageCommand};
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
        Command::History(history) => history::run(global, history),
        Command::Diff(diff) => diff::run(global, diff),
        Command::Save(save) => save::run(global, save),
        Command::Load(load) => load::run(global, load),
        Command::Tag(tag) => tag::run(global, tag),
        Command::Rmi(remove) => rmi::run(global, remove),
        Command::Copy(copy) => copy::run(global, copy),
        Command::Manifest(command) => manifest::run(global, command),
        Command::Import(import) => import::run(global, import),
        Command::Export(export) => export::run(global, export),
        Command::Login(login) => login::log_in(global, login),
        Command::Logout(logout) => login::log_out(logout),
        Command::Tags(tags) => tags::run(global, tags),
        Command::Du(du) => du::run(global, du),
        Command::Prune(prune) => prune::run(global, prune),
        Command::CacheMount(command) => cache_mount::run(global, command),
        Command::Binfmt(command) => binfmt::run(command),
        Command::Store(store) => store::run(global, store),
        Command::Info => info::run(global),
        Command::Completion(completion) => completion::run(completion),
        Command::Image(command) => run_image(global, command),
    }
}

fn run_image(global: &GlobalArguments, command: &ImageCommand) -> Result<(), Failure> {
    match command {
        ImageCommand::Ls(images) => images::run(global, images),
        ImageCommand::Rm(remove) => rmi::run(global, remove),
        ImageCommand::Inspect(inspect) => inspect::run(global, inspect),
        ImageCommand::History(history) => history::run(global, history),
        ImageCommand::Tag(tag) => tag::run(global, tag),
        ImageCommand::Pull(pull) => pull::run(global, pull),
        ImageCommand::Push(push) => push::run(global, push),
        ImageCommand::Save(save) => save::run(global, save),
        ImageCommand::Load(load) => load::run(global, load),
        ImageCommand::Import(import) => import::run(global, import),
        ImageCommand::Prune(prune) => images::prune(global, prune),
    }
}
