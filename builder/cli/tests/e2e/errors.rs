//! What a user is told when something is wrong: what, where, why, what next.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testdata::command::stdout_of;
use kiln_testdata::keeper::free_port;
use kiln_testdata::needs;

use crate::harness::{Kiln, Ran, binary};

/// The exit code of a failed step.
const STEP: i32 = 1;
/// The exit code of a wrong or missing Dockerfile.
const DOCKERFILE: i32 = 3;

#[test]
fn missing_dockerfile_is_named_with_the_directory_searched() {
    let kiln = Kiln::new();
    let context = kiln.path("empty");
    fs::create_dir(&context).unwrap();
    kiln.try_build_offline(&context).failed_saying(
        DOCKERFILE,
        &["Dockerfile", &context.display().to_string(), "hint:"],
    );
}

#[test]
fn unknown_instruction_is_marked_and_the_nearest_one_suggested() {
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nCOPPY a b\n");
    kiln.try_build_offline(&context)
        .failed_saying(DOCKERFILE, &["Dockerfile:2:1", "COPPY", "`COPY`"]);
}

#[test]
fn failing_step_shows_its_line_its_exit_code_and_its_last_words() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM debian:bookworm\nRUN echo last words >&2; exit 42\n");
    kiln.try_build(&context, &[]).failed_saying(
        STEP,
        &["Dockerfile:2", "exit 42", "exit code 42", "last words"],
    );
}

#[test]
fn failing_line_of_a_longer_step_is_marked() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let table = [
        (
            "FROM debian:bookworm\nRUN <<END\nset -e\ntrue\n  compiel --all\nEND\n",
            "Dockerfile:5:3",
            ">>>   compiel --all\n     |       ^^^^^^^\n",
        ),
        (
            "FROM debian:bookworm\nRUN true && \\\n  true && \\\n  ls /missing\n",
            "Dockerfile:4:3",
            ">>>   ls /missing\n     |       ^^ it seems to have failed here\n",
        ),
        (
            "FROM debian:bookworm\nRUN [\"true\"]\nRUN [\"/no/such\", \"x\"]\n",
            "Dockerfile:3:7",
            ">>> RUN [\"/no/such\", \"x\"]\n     |           ^^^^^^^^\n",
        ),
    ];
    for (dockerfile, place, marked) in table {
        let kiln = Kiln::new();
        let ran = kiln.try_build(&kiln.context(dockerfile), &[]);
        ran.failed_saying(STEP, &[place, marked]);
    }
}

#[test]
fn missing_base_image_is_named() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM nobody/has-this:1\n");
    let ran = kiln.try_build(&context, &[]);
    assert!(
        ran.code.is_some_and(|code| code != 0),
        "{}",
        ran.description()
    );
    for part in ["nobody/has-this:1", "Dockerfile:1"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.description());
    }
}

#[test]
fn registry_that_is_down_is_named_with_its_address() {
    let kiln = Kiln::new();
    let address = format!("127.0.0.1:{}", free_port());
    let ran = kiln.try_build_offline(&kiln.context(&format!("FROM {address}/base:1\n")));
    assert!(
        ran.code.is_some_and(|code| code != 0),
        "{}",
        ran.description()
    );
    for part in [&*address, "refused"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.description());
    }
}

#[test]
fn store_without_permission_is_named() {
    if !needs::met(&[needs::Need::Root]) {
        return;
    }
    let kiln = Kiln::new();
    let directory = kiln.path(".");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = kiln.path("kiln");
    fs::copy(binary(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command
        .env_clear()
        .env("KILN_ROOT", kiln.root())
        .env("HOME", "/nonexistent");
    command
        .arg("build")
        .arg(kiln.context("FROM scratch\nCOPY . /\n"))
        .uid(65534)
        .gid(65534);
    let ran = Ran::from(command);
    assert!(
        ran.code.is_some_and(|code| code != 0),
        "{}",
        ran.description()
    );
    for part in [
        "Permission denied",
        &kiln.root().display().to_string(),
        "hint:",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.description());
    }
}

#[test]
fn store_without_space_says_so_and_keeps_working_afterwards() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let disk = SmallDisk::mount(kiln.root());
    let context = kiln.context("FROM scratch\nCOPY large small /\n");
    fs::write(context.join("small"), "small").unwrap();
    fs::write(context.join("large"), vec![b'x'; 16 << 20]).unwrap();
    let ran = kiln.try_build(&context, &[]);
    assert!(
        ran.code.is_some_and(|code| code != 0),
        "{}",
        ran.description()
    );
    for part in ["no space left", "hint:"] {
        assert!(
            ran.stderr.to_lowercase().contains(part),
            "{part}: {}",
            ran.description()
        );
    }
    fs::write(context.join("large"), "no longer").unwrap();
    kiln.build(&context, &[]);
    kiln.run(&["store", "verify"]);
    drop(disk);
}

impl Kiln {
    /// A build that must not need any registry.
    fn try_build_offline(&self, context: &Path) -> Ran {
        let mut command = self.command();
        command.args(["build", "--progress=plain"]).arg(context);
        Ran::from(command)
    }
}

/// A mounted file system of eight megabytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(directory: PathBuf) -> SmallDisk {
        fs::create_dir_all(&directory).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=8m,mode=0700", "kiln-e2e"];
        stdout_of(Command::new("mount").args(options).arg(&directory));
        SmallDisk(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
