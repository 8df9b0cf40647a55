//! Debian's Docker: an engine of its own on the disk, which builds with BuildKit.

use std::path::Path;
use std::process::Command;

use kiln_testdata::command::stdout_of;
use kiln_testdata::docker::DockerEngine;

use super::{Build, Compression, Contender, Kind, Output};
use crate::disk::Disk;
use crate::shell::shell;

/// Debian's client; newer ones build only through a plugin.
pub const CLIENT: &str = "/usr/bin/docker";

/// A running engine.
pub struct Docker {
    engine: DockerEngine,
}

impl Docker {
    pub fn start(disk: &Disk) -> Docker {
        let engine = DockerEngine::start_in(&disk.path());
        Docker { engine }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.client();
        command.args(arguments);
        command
    }

    /// Returns `script` with the environment of its client.
    fn script(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = shell(&script.replace("docker ", &format!("{CLIENT} ")), arguments);
        let client = self.engine.client();
        command.envs(
            client
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command
    }
}

/// It writes archives only without compression.
const SAVE: &str = "docker save \"$1\" | gzip > \"$2\"";

impl Contender for Docker {
    fn kind(&self) -> Kind {
        Kind::Docker
    }

    fn empty(&self) {
        let everything = "docker image ls -q | sort -u | xargs -r docker image rm -f
            docker builder prune -af; docker image prune -af";
        stdout_of(&mut self.script(everything, &[]));
    }

    fn pull(&self, name: &str) -> Command {
        self.command(&["pull", "--quiet", name])
    }

    fn build(&self, build: &Build<'_>) -> Option<Command> {
        let context = build.context.to_str()?;
        let arguments = [
            "--network=host",
            "--progress=plain",
            "--tag",
            build.name,
            context,
        ];
        let is_cached = build.cache_to.is_some() || build.cache_from.is_some();
        match &build.output {
            _ if is_cached => None,
            Output::Kept => {
                let mut command = self.command(&["build"]);
                command.args(arguments);
                Some(command)
            }
            Output::Archive(archive, Compression::Gzip) => {
                let script = format!("docker build \"${{@:3}}\"; {SAVE}");
                let given = [build.name, archive.to_str()?];
                let given: Vec<&str> = given.into_iter().chain(arguments).collect();
                Some(self.script(&script, &given))
            }
            Output::Archive(_, Compression::Zstd) => None,
        }
    }

    fn export(&self, name: &str, _context: &Path, archive: &Path) -> Command {
        self.script(SAVE, &[name, &archive.to_string_lossy()])
    }

    fn save(&self, name: &str, archive: &Path) -> Command {
        let mut command = self.command(&["save", name, "--output"]);
        command.arg(archive);
        command
    }

    fn load(&self, archive: &Path) -> Command {
        let mut command = self.command(&["load", "--quiet", "--input"]);
        command.arg(archive);
        command
    }

    fn rename(&self, name: &str, other: &str) -> Command {
        self.command(&["tag", name, other])
    }

    fn push(&self, name: &str) -> Command {
        self.command(&["push", name])
    }

    fn version(&self) -> Command {
        self.command(&["--version"])
    }

    fn daemon(&self) -> Option<u32> {
        Some(self.engine.process_id())
    }
}
