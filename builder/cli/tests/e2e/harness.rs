//! A store of its own per test, and the services that all tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use kiln_testdata::base::{BASE_HUB_NAME, BASE_NAME, BASE_TAG, base_image};
use kiln_testdata::command::{describe, output_of};
use kiln_testdata::distribution::Registry;
use kiln_testdata::docker::DockerEngine;
use tempfile::TempDir;

/// What is started once per test process; it ends with the process.
pub struct World {
    pub registry: Registry,
}

/// Returns the registry that has the base image under Docker Hub's name for it.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let registry = Registry::start();
        registry.copy_in(&base_image(), BASE_TAG, BASE_HUB_NAME);
        World { registry }
    })
}

/// Returns Docker's engine, which has the base image too.
pub fn docker() -> &'static DockerEngine {
    static DOCKER: OnceLock<DockerEngine> = OnceLock::new();
    DOCKER.get_or_init(|| {
        let docker = DockerEngine::start();
        docker.pull_as(
            &format!("{}/library", world().registry.address()),
            BASE_NAME,
        );
        docker
    })
}

/// The binary with an empty store, and a directory for the test's files.
pub struct Kiln {
    directory: TempDir,
}

impl Kiln {
    pub fn new() -> Kiln {
        let directory = tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir()
            .expect("a directory");
        std::fs::create_dir(directory.path().join("home")).expect("a home");
        Kiln { directory }
    }

    /// The store's directory.
    pub fn root(&self) -> PathBuf {
        self.path("store")
    }

    /// A path among the test's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a context of one Dockerfile and returns its directory.
    pub fn context(&self, dockerfile: &str) -> PathBuf {
        let context = self.path("context");
        std::fs::create_dir_all(&context).expect("the context");
        std::fs::write(context.join("Dockerfile"), dockerfile).expect("the Dockerfile");
        context
    }

    /// The command with nothing of the caller's configuration, to be given arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("KILN_ROOT", self.root())
            .env("RUST_BACKTRACE", "1");
        command
    }

    /// As [`Kiln::command`], with Docker Hub's names served by the test's registry.
    pub fn command_with_mirror(&self) -> Command {
        let mut command = self.command();
        command.env("KILN_REGISTRY_MIRROR", world().registry.as_hub_mirror());
        command
    }

    /// Runs `kiln build --progress=plain ARGUMENTS CONTEXT`.
    pub fn try_build(&self, context: &Path, arguments: &[&str]) -> Ran {
        let mut command = self.command_with_mirror();
        command
            .args(["build", "--progress=plain"])
            .args(arguments)
            .arg(context);
        Ran::from(command)
    }

    /// As [`Kiln::try_build`]; the build must succeed.
    pub fn build(&self, context: &Path, arguments: &[&str]) -> Ran {
        self.try_build(context, arguments).succeeded()
    }

    /// Runs `kiln ARGUMENTS`, which must succeed, and returns its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let mut command = self.command_with_mirror();
        command.args(arguments);
        Ran::from(command).succeeded().stdout
    }
}

/// What a run of the binary said.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    description: String,
}

impl From<Command> for Ran {
    fn from(mut command: Command) -> Ran {
        let output = output_of(&mut command);
        Ran::new(&command, &output)
    }
}

impl Ran {
    fn new(command: &Command, output: &Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            description: describe(command, output),
        }
    }

    /// Panics with everything that was said when the run failed.
    pub fn succeeded(self) -> Ran {
        assert_eq!(self.code, Some(0), "{}", self.description);
        self
    }

    /// Panics unless the run failed by itself with `code` and said all of `parts`.
    pub fn failed_saying(self, code: i32, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "`{part}` is not in: {}",
                self.description
            );
        }
        assert_eq!(self.code, Some(code), "{}", self.description);
        assert!(!self.stderr.contains("panicked"), "{}", self.description);
        self
    }

    /// The number of steps that the progress calls CACHED.
    pub fn cached_steps(&self) -> usize {
        self.stderr
            .lines()
            .filter(|line| line.ends_with("CACHED"))
            .count()
    }

    /// The number of steps that the progress says were carried out.
    pub fn executed_steps(&self) -> usize {
        let is_step = |number: &str| {
            let begins = format!("{number} [");
            let mut lines = self.stderr.lines();
            lines.any(|line| line.starts_with(&begins) && !line.contains(" [internal] "))
        };
        let done = self
            .stderr
            .lines()
            .filter_map(|line| line.split_once(" DONE "));
        done.filter(|(number, _)| is_step(number)).count()
    }

    /// Everything, for a failure message.
    pub fn description(&self) -> &str {
        &self.description
    }
}

/// Returns the binary under test: the one that was built with the tests, or `KILN_BINARY`, a
/// copy for a user who cannot read where that one lies.
pub fn binary() -> PathBuf {
    match std::env::var_os("KILN_BINARY") {
        Some(copy) => copy.into(),
        None => env!("CARGO_BIN_EXE_kiln").into(),
    }
}
