//! Docker's engine with data and socket of its own: what Kiln's images are compared with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::stdout_of;
use crate::keeper::Service;
use crate::needs::find_program;

/// A running engine without networks, empty at first; gone when dropped.
#[derive(Debug)]
pub struct DockerEngine {
    service: Service,
}

impl DockerEngine {
    /// Starts an engine; needs root.
    pub fn start() -> DockerEngine {
        Self::start_in(&std::env::temp_dir())
    }

    /// As [`DockerEngine::start`], with its data below `parent`.
    pub fn start_in(parent: &Path) -> DockerEngine {
        let service = Service::start_in(parent, "docker", serve, |directory| {
            socket(directory).exists()
                && client(directory)
                    .arg("info")
                    .output()
                    .is_ok_and(|o| o.status.success())
        });
        DockerEngine { service }
    }

    /// Returns the number of the engine's process.
    ///
    /// Panics when it has ended.
    pub fn process_id(&self) -> u32 {
        let path = self.service.directory().join("pid");
        let number = std::fs::read_to_string(path).expect("the engine's process");
        number.trim().parse().expect("a number")
    }

    /// Returns Debian's client of this engine, to be given a command, with BuildKit on.
    pub fn client(&self) -> Command {
        client(self.service.directory())
    }

    /// Returns the socket at which it listens.
    pub fn socket(&self) -> PathBuf {
        socket(self.service.directory())
    }

    /// Pulls `address/name` and gives it the name `name`, so that a Dockerfile may say that.
    pub fn pull_as(&self, address: &str, name: &str) {
        let remote = format!("{address}/{name}");
        stdout_of(self.client().args(["pull", "--quiet", &remote]));
        stdout_of(self.client().args(["tag", &remote, name]));
    }

    /// Builds `context` with `arguments` on the host's network and tags the result `name`.
    pub fn build(&self, context: &Path, arguments: &[&str], name: &str) {
        stdout_of(
            self.client()
                .args(["build", "--network=host", "--progress=plain", "--tag", name])
                .args(arguments)
                .arg(context),
        );
    }

    /// Saves the image `name` as a Docker archive.
    pub fn save(&self, name: &str, archive: &Path) {
        stdout_of(
            self.client()
                .args(["save", "--output"])
                .arg(archive)
                .arg(name),
        );
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}

fn client(directory: &Path) -> Command {
    // Debian's own client: newer ones build only through a plugin.
    let mut command = Command::new("/usr/bin/docker");
    command
        .env(
            "DOCKER_HOST",
            format!("unix://{}", socket(directory).display()),
        )
        .env("DOCKER_CONFIG", directory.join("client"))
        .env("DOCKER_BUILDKIT", "1");
    command
}

fn serve(directory: &Path) -> Command {
    let mut command = Command::new(find_program("dockerd").expect("dockerd"));
    command
        .arg("--host")
        .arg(format!("unix://{}", socket(directory).display()))
        .arg("--data-root")
        .arg(directory.join("data"))
        .arg("--exec-root")
        .arg(directory.join("exec"))
        .arg("--pidfile")
        .arg(directory.join("pid"))
        .args([
            "--storage-driver=overlay2",
            "--bridge=none",
            "--iptables=false",
        ])
        .args(["--ip6tables=false", "--log-level=warn"]);
    command
}
