//! Timed runs of the binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_testdata::command::stdout_of;
use kiln_testdata::distribution::Registry;

/// The binary with a store, and the registry that has the base image.
pub struct Kiln<'a> {
    pub binary: &'a Path,
    pub registry: &'a Registry,
    pub root: PathBuf,
}

impl Kiln<'_> {
    /// Returns how long a build of `context` takes, which must succeed.
    pub fn build(&self, context: &Path) -> Duration {
        self.build_with(context, &[])
    }

    /// As [`Kiln::build`], with further arguments.
    pub fn build_with(&self, context: &Path, arguments: &[&str]) -> Duration {
        let mut command = Command::new(self.binary);
        command
            .env("KILN_ROOT", &self.root)
            .env("KILN_REGISTRY_MIRROR", self.registry.as_hub_mirror())
            .args(["build", "--progress=none", "--tag=benchmark"])
            .args(arguments)
            .arg(context);
        let started = Instant::now();
        stdout_of(&mut command);
        started.elapsed()
    }
}
