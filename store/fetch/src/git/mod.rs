//! Checkouts of git repositories, by the `git` program.
//!
//! The program runs without anybody's configuration, hooks, prompts or credential helpers,
//! and speaks `https`, `http`, `ssh` and `git` only. Every repository that is fetched from has a
//! bare repository of its own, which its owner keeps; a commit that is there is not fetched
//! again. Submodules are checked out here and not by `git submodule`: each is a repository
//! like any other, by the same rules.

mod address;
mod checkout;
mod fetch;
mod modules;
mod program;
mod references;
mod running;
mod tidy;

pub use checkout::{Checkout, CheckoutRequest, Times};
pub use references::{Resolved, Wanted};

use crate::{Access, FetchError};
use address::Address;
use program::Program;
use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

/// Keeps the bare repositories.
pub trait Repositories: Sync {
    /// Returns the directory of the repository called `name`, which nobody else uses until the
    /// guard is dropped. It is empty when it is new.
    fn enter(&self, name: &str) -> Result<Repository, FetchError>;
}

/// A bare repository that this process uses.
pub struct Repository {
    /// Its directory.
    pub path: PathBuf,
    /// Lets others use it when dropped.
    pub guard: Box<dyn Any>,
}

/// What git works with.
pub struct Git<'a> {
    /// What may be shown to whom.
    pub access: &'a Access,
    /// A directory for temporary files.
    pub scratch: PathBuf,
    /// How long a remote may say nothing at all.
    pub idle: Duration,
    /// Whether to stop.
    pub is_cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Hears what is done, line by line.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

impl Git<'_> {
    /// Returns what `wanted` is at the remote now.
    ///
    /// Errors: [`FetchError::UnknownReference`], [`FetchError::WrongCommit`] and what git says.
    pub fn resolve(&self, remote: &str, wanted: &Wanted) -> Result<Resolved, FetchError> {
        let address = Address::parse(remote)?;
        references::resolve(&self.program(&address)?, wanted)
    }

    fn program<'p>(&'p self, address: &'p Address) -> Result<Program<'p>, FetchError> {
        Program::new(self, address)
    }
}
