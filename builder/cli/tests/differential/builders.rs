//! The two builders: Kiln with one store for all cases, and one engine of Docker's.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_testdata::archive::{ArchivedImage, read_docker_archive};
use kiln_testdata::command::{output_of, stdout_of};
use kiln_testdata::docker::DockerEngine;

use crate::case::Case;
use crate::harness::{Kiln, docker, world};

/// The image that cases start from: busybox, a few users, directories and links.
const SMALL_BASE: &str = "busybox:1";

/// What a build came to.
#[derive(Debug)]
pub enum Outcome {
    /// An image.
    Built(Built),
    /// What was said on standard error.
    Failed(String),
}

/// An image, and when the builds began.
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub image: ArchivedImage,
    /// Files with a later time were made by a build.
    pub began_seconds: u64,
}

/// Both builders, ready.
pub struct Builders {
    began_seconds: u64,
    kiln: Kiln,
    docker: &'static DockerEngine,
}

impl Builders {
    /// Starts the engine and makes the base image of most cases.
    pub fn start() -> Builders {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        // The clock of file systems is a few milliseconds behind.
        let began = since_1970.expect("a time after 1970") - Duration::from_secs(1);
        let builders = Builders {
            began_seconds: began.as_secs(),
            kiln: Kiln::new(),
            docker: docker(),
        };
        builders.make_small_base();
        builders
    }

    /// Builds the case `base` with Docker, which then has it, and so has the registry.
    fn make_small_base(&self) {
        let context = self.kiln.path("base");
        Case::read("base").make_context(&context);
        self.docker.build(&context, &[], SMALL_BASE);
        let archive = self.kiln.path("base.tar");
        self.docker.save(SMALL_BASE, &archive);
        stdout_of(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--dest-tls-verify=false"])
                .arg(format!("docker-archive:{}", archive.display()))
                .arg(format!(
                    "docker://{}/library/{SMALL_BASE}",
                    world().registry.address()
                )),
        );
    }

    /// Builds with Kiln.
    pub fn kiln(&self, case: &Case, context: &Path) -> Outcome {
        let archive = context.with_file_name("kiln.tar");
        let output = format!(
            "type=docker,compression=uncompressed,dest={}",
            archive.display()
        );
        let mut command = self.kiln.command_with_mirror();
        command.args(["build", "--progress=plain", "--output", &output]);
        self.outcome(command, case, context, || read_docker_archive(&archive))
    }

    /// Builds with Docker.
    pub fn docker(&self, case: &Case, context: &Path) -> Outcome {
        let archive = context.with_file_name("docker.tar");
        let name = format!("differential-{}", case.name);
        let mut command = self.docker.client();
        command.args([
            "build",
            "--network=host",
            "--progress=plain",
            "--tag",
            &name,
        ]);
        self.outcome(command, case, context, || {
            self.docker.save(&name, &archive);
            read_docker_archive(&archive)
        })
    }

    fn outcome(
        &self,
        mut command: Command,
        case: &Case,
        context: &Path,
        read: impl FnOnce() -> ArchivedImage,
    ) -> Outcome {
        // Named by its path: the engine takes contexts of one name for one that changes, and
        // files of it for the same when size and time are.
        command.args(&case.arguments).arg(context);
        let output = output_of(command.current_dir(context));
        if !output.status.success() {
            return Outcome::Failed(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Outcome::Built(Built {
            image: read(),
            began_seconds: self.began_seconds,
        })
    }
}
