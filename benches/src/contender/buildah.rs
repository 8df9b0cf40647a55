//! Debian's buildah.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testdata::command::stdout_of;

use super::{Build, Compression, Contender, Kind, Output};
use crate::disk::Disk;
use crate::shell::shell;

/// The program with a store.
pub struct Buildah {
    store: PathBuf,
}

impl Buildah {
    pub fn new(disk: &Disk) -> Buildah {
        Buildah {
            store: disk.path().join("buildah"),
        }
    }

    /// Where it is, and where it keeps what.
    fn global(&self) -> Vec<String> {
        let below = |name: &str| self.store.join(name).display().to_string();
        let root = format!("--root={}", below("root"));
        let run = format!("--runroot={}", below("run"));
        [
            "buildah".to_owned(),
            root,
            run,
            "--storage-driver=overlay".to_owned(),
        ]
        .into()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let global = self.global();
        let mut command = Command::new(&global[0]);
        command.args(&global[1..]).args(arguments);
        command
    }

    /// Returns a build, then a push to an archive: it knows no other way.
    fn with_push(&self, build: Option<Command>, push: &Command) -> Command {
        let line = |command: &Command| {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            let words = words.map(|word| format!("'{}'", word.to_string_lossy()));
            words.collect::<Vec<_>>().join(" ")
        };
        let lines: Vec<String> = build.iter().chain([push]).map(line).collect();
        shell::<&str>(&lines.join("\n"), &[])
    }

    fn push_to(&self, name: &str, archive: &Path, compression: Compression) -> Command {
        let format = format!("--compression-format={}", compression.name());
        let target = format!("oci-archive:{}", archive.display());
        self.command(&["push", "--quiet", &format, name, &target])
    }
}

impl Contender for Buildah {
    fn kind(&self) -> Kind {
        Kind::Buildah
    }

    fn empty(&self) {
        if self.store.exists() {
            stdout_of(&mut self.command(&["rmi", "--all", "--force"]));
            std::fs::remove_dir_all(&self.store).expect("an empty store");
        }
    }

    fn pull(&self, name: &str) -> Command {
        self.command(&["pull", "--quiet", "--tls-verify=false", name])
    }

    fn build(&self, build: &Build<'_>) -> Option<Command> {
        let mut command = self.command(&["build", "--layers", "--network=host"]);
        command.args(["--tls-verify=false", "--tag", build.name]);
        // It wants a repository, and makes tags itself.
        let repository = |name: &str| name.rsplit_once(':').map(|(found, _)| found.to_owned());
        if let Some(name) = build.cache_to.and_then(repository) {
            command.args(["--cache-to", &name]);
        }
        if let Some(name) = build.cache_from.and_then(repository) {
            command.args(["--cache-from", &name]);
        }
        command.arg(build.context);
        Some(match &build.output {
            Output::Kept => command,
            Output::Archive(archive, compression) => {
                let push = self.push_to(build.name, archive, *compression);
                self.with_push(Some(command), &push)
            }
        })
    }

    fn export(&self, name: &str, _context: &Path, archive: &Path) -> Command {
        self.push_to(name, archive, Compression::Gzip)
    }

    fn save(&self, name: &str, archive: &Path) -> Command {
        let target = format!("docker-archive:{}:{name}", archive.display());
        self.command(&["push", "--quiet", name, &target])
    }

    fn load(&self, archive: &Path) -> Command {
        let source = format!("docker-archive:{}", archive.display());
        self.command(&["pull", "--quiet", &source])
    }

    fn rename(&self, name: &str, other: &str) -> Command {
        self.command(&["tag", name, other])
    }

    fn push(&self, name: &str) -> Command {
        self.command(&["push", "--quiet", "--tls-verify=false", name])
    }

    fn version(&self) -> Command {
        self.command(&["--version"])
    }
}
