//! The example projects, built by Kiln and by Docker and compared path by path.

use std::path::PathBuf;

use kiln_testdata::command::stdout_of;
use kiln_testdata::table::{Allowed, differences};
use kiln_testdata::{image, needs, projects};

use crate::harness::{Kiln, docker, world};

/// Content that differs between any two builds: times in logs and caches.
const TIMED: &[&str] = &[
    "var/log",
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/cache/debconf",
];

struct Built {
    kiln: Kiln,
    project: &'static str,
    context: PathBuf,
}

#[test]
fn c_program_is_what_docker_builds() {
    same_as_docker(projects::C_PROGRAM, "9 ");
}

#[test]
fn python_application_is_what_docker_builds() {
    same_as_docker(projects::PYTHON_APP, "hello, world\n");
}

#[test]
fn static_binary_on_scratch_is_what_docker_builds() {
    same_as_docker(projects::SCRATCH, "hello from scratch\n");
}

#[test]
fn twenty_steps_over_many_files_are_what_docker_builds() {
    same_as_docker(projects::MANY_STEPS, "201\n");
}

fn same_as_docker(project: &'static str, output: &str) {
    if !needs::met(needs::PEERS) {
        return;
    }
    let built = Built::new(project);
    built.first_build_executes();
    built.second_build_is_cached();
    built.every_form_is_the_same_image();
    built.tree_and_config_are_dockers();
    built.docker_runs_it(output);
    built.kiln.run(&["store", "verify"]);
}

impl Built {
    fn new(project: &'static str) -> Built {
        let kiln = Kiln::new();
        let context = kiln.path("context");
        projects::write_context(project, &context);
        Built {
            kiln,
            project,
            context,
        }
    }

    fn name(&self) -> String {
        format!(
            "{}/projects/{}:latest",
            world().registry.address(),
            self.project
        )
    }

    fn first_build_executes(&self) {
        let output = format!(
            "type=oci,dest={}",
            self.kiln.path("image.oci.tar").display()
        );
        let ran = self
            .kiln
            .build(&self.context, &["--tag", &self.name(), "--output", &output]);
        assert!(ran.executed_steps() > 0, "{}", ran.description());
    }

    fn second_build_is_cached(&self) {
        let output = format!(
            "type=docker,dest={}",
            self.kiln.path("image.docker.tar").display()
        );
        let arguments = ["--tag", &self.name(), "--output", &output, "--push"];
        let ran = self.kiln.build(&self.context, &arguments);
        let steps = step_lines(&ran.stderr);
        assert!(
            ran.cached_steps() >= steps,
            "of {steps} steps: {}",
            ran.description()
        );
    }

    fn every_form_is_the_same_image(&self) {
        let config = image::config(&self.oci_archive());
        for other in [self.docker_archive(), format!("docker://{}", self.name())] {
            let read = image::config(&other);
            assert_eq!(read["rootfs"], config["rootfs"], "{other}");
            assert_eq!(
                image::comparable_config(&read),
                image::comparable_config(&config)
            );
        }
    }

    fn tree_and_config_are_dockers(&self) {
        let name = format!("docker-{}", self.project);
        docker().build(&self.context, &[], &name);
        let archive = self.kiln.path("docker.tar");
        docker().save(&name, &archive);
        let theirs = format!("docker-archive:{}", archive.display());
        assert_eq!(
            image::comparable_config(&image::config(&self.oci_archive())),
            image::comparable_config(&image::config(&theirs)),
        );
        let allowed = Allowed {
            content: TIMED,
            anything: &[],
        };
        let ours = image::root_file_system(&self.oci_archive());
        let found = differences(&ours, &image::root_file_system(&theirs), &allowed);
        assert!(found.is_empty(), "ours / Docker's:\n{}", found.join("\n"));
    }

    fn docker_runs_it(&self, output: &str) {
        stdout_of(
            docker()
                .client()
                .args(["load", "--input"])
                .arg(self.kiln.path("image.docker.tar")),
        );
        let said =
            stdout_of(
                docker()
                    .client()
                    .args(["run", "--rm", "--network=host", &self.name()]),
            );
        assert!(
            said.starts_with(output),
            "{said:?} does not start with {output:?}"
        );
    }

    fn oci_archive(&self) -> String {
        format!("oci-archive:{}", self.kiln.path("image.oci.tar").display())
    }

    fn docker_archive(&self) -> String {
        format!(
            "docker-archive:{}",
            self.kiln.path("image.docker.tar").display()
        )
    }
}

/// The number of instructions that the progress announces as `[stage 2/9] …`.
fn step_lines(progress: &str) -> usize {
    let mut steps: Vec<_> = progress
        .lines()
        .filter_map(|line| line.split_once(" [")?.1.split_once(']'))
        .map(|(step, _)| step)
        .filter(|step| step.contains('/'))
        .collect();
    steps.sort_unstable();
    steps.dedup();
    steps.len()
}
