//! Kiln.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Build, Contender, Kind, Output};
use crate::disk::Disk;

/// The program with a store.
pub struct Kiln {
    program: PathBuf,
    store: PathBuf,
}

impl Kiln {
    pub fn new(disk: &Disk, program: &Path) -> Kiln {
        Kiln {
            program: program.to_owned(),
            store: disk.path().join("kiln"),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KILN_ROOT", &self.store).args(arguments);
        command
    }

    fn build_to(&self, output: &Output) -> Command {
        let mut command = self.command(&["build", "--progress=none"]);
        if let Output::Archive(archive, compression) = output {
            let (archive, compression) = (archive.display(), compression.name());
            command.arg(format!(
                "--output=type=oci,dest={archive},compression={compression}"
            ));
        }
        command
    }
}

impl Contender for Kiln {
    fn kind(&self) -> Kind {
        Kind::Kiln
    }

    fn empty(&self) {
        if self.store.exists() {
            std::fs::remove_dir_all(&self.store).expect("an empty store");
        }
    }

    fn pull(&self, name: &str) -> Command {
        self.command(&["pull", name])
    }

    fn build(&self, build: &Build<'_>) -> Option<Command> {
        let mut command = self.build_to(&build.output);
        command.args(["--tag", build.name]);
        if let Some(name) = build.cache_to {
            command.arg(format!("--cache-to=type=registry,ref={name},mode=max"));
        }
        if let Some(name) = build.cache_from {
            command.arg(format!("--cache-from=type=registry,ref={name}"));
        }
        command.arg(build.context);
        Some(command)
    }

    fn export(&self, _name: &str, context: &Path, archive: &Path) -> Command {
        let gzip = super::Compression::Gzip;
        let mut command = self.build_to(&Output::Archive(archive.to_owned(), gzip));
        command.arg(context);
        command
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
}
