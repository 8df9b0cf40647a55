//! Images that change hands: Podman's socket, archives in every compression, lists of the store as
//! bases.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testdata::command::{output_of, stdout_of};
use kiln_testdata::keeper::Service;
use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, Ran};

/// Podman with a store of its own, and its socket.
struct Podman(Service);

impl Podman {
    fn start() -> Self {
        let command = |directory: &Path| {
            let mut command = podman(directory);
            let socket = format!("unix://{}", directory.join("socket").display());
            command.args(["system", "service", "--time=0", &socket]);
            command
        };
        let is_ready = |directory: &Path| {
            std::os::unix::net::UnixStream::connect(directory.join("socket")).is_ok()
        };
        Podman(Service::start("podman", command, is_ready))
    }

    fn run(&self, arguments: &[&str]) -> String {
        stdout_of(podman(self.0.directory()).args(arguments))
    }
}

fn podman(directory: &Path) -> Command {
    let mut command = Command::new("podman");
    command.arg("--root").arg(directory.join("root"));
    command.arg("--runroot").arg(directory.join("run"));
    command.args(["--storage-driver", "vfs"]);
    command
}

#[test]
fn images_are_handed_to_podman_by_its_socket() {
    if !needs::met(&[Need::Root, Need::Program("podman")]) {
        return;
    }
    let (kiln, podman) = (Kiln::new(), Podman::start());
    let socket = podman.0.directory().join("socket");
    let load = |dockerfile: &str| {
        let mut command = kiln.command();
        command.env("CONTAINER_HOST", format!("unix://{}", socket.display()));
        command.args(["build", "-q", "--load", "-t", "handed/over:1"]);
        command.arg(kiln.context(dockerfile));
        Ran::from(command).succeeded().stdout
    };
    for dockerfile in [
        "FROM scratch\nCOPY Dockerfile /one\nLABEL a=b\n",
        "FROM scratch\nCOPY Dockerfile /one\nCOPY Dockerfile /two\n",
    ] {
        let id = load(dockerfile);
        let format = "{{.Id}}";
        let shown = podman.run(&["image", "inspect", "--format", format, "handed/over:1"]);
        assert_eq!(format!("sha256:{shown}"), id);
    }
}

#[test]
fn archives_are_loaded_in_every_compression() {
    const PROGRAMS: [&str; 4] = ["gzip", "bzip2", "xz", "zstd"];
    let needed = PROGRAMS.map(Need::Program);
    if !needs::met(&needed) {
        return;
    }
    let kiln = Kiln::new();
    kiln.build(
        &kiln.context("FROM scratch\nCOPY Dockerfile /\n"),
        &["-t", "app:1"],
    );
    let archive = kiln.path("app.tar");
    let name = archive.to_str().expect("a path");
    kiln.run(&["save", "--output", name, "app:1"]);
    let id = kiln.run(&["images", "-q", "--no-trunc"]);
    for program in PROGRAMS {
        let compressed = output_of(Command::new(program).arg("-c").arg(&archive));
        assert!(compressed.status.success(), "{program}");
        let path = kiln.path(program);
        fs::write(&path, compressed.stdout).expect("an archive");
        let other = Kiln::new();
        other.run(&["load", "--quiet", "--input", path.to_str().expect("a path")]);
        assert_eq!(other.run(&["images", "-q", "--no-trunc"]), id, "{program}");
        // Cut off, it is refused, and nothing of it has a name.
        let file = fs::File::options().write(true).open(&path).expect("it");
        let length = file.metadata().expect("its length").len();
        file.set_len(length / 2).expect("half of it");
        let another = Kiln::new();
        let mut command = another.command();
        command.args(["load", "--input"]).arg(&path);
        let refused = Ran::from(command);
        assert!(
            refused.code.is_some_and(|code| code > 1),
            "{}",
            refused.description()
        );
        assert!(
            refused.stderr.contains(program),
            "{}",
            refused.description()
        );
        assert_eq!(another.run(&["images", "-q"]), "");
    }
}

#[test]
fn lists_made_in_the_store_are_bases() {
    let kiln = Kiln::new();
    for architecture in ["amd64", "arm64"] {
        let context = kiln.context("FROM scratch\nARG TARGETARCH\nCOPY data /data\n");
        fs::write(context.join("data"), architecture).expect("a file");
        let (platform, name) = (
            format!("linux/{architecture}"),
            format!("part:{architecture}"),
        );
        kiln.build(&context, &["-t", &name, "--platform", &platform]);
    }
    kiln.run(&["manifest", "create", "both:1", "part:amd64", "part:arm64"]);
    let context = kiln.context("FROM both:1\nCOPY --from=both:1 /data /copy\n");
    for architecture in ["amd64", "arm64"] {
        let directory = kiln.path(architecture);
        let output = format!("type=local,dest={}", directory.display());
        let platform = format!("linux/{architecture}");
        kiln.build(&context, &["--platform", &platform, "--output", &output]);
        for name in ["data", "copy"] {
            let found = fs::read_to_string(directory.join(name)).expect("a file");
            assert_eq!(found, architecture, "{name}");
        }
    }
}
