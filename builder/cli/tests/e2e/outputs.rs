//! Where a build's result can go, read back by tools that are not ours.

use std::fs;
use std::process::Command;

use kiln_testdata::command::stdout_of;
use kiln_testdata::{image, needs};

use crate::harness::{Kiln, world};

const DOCKERFILE: &str = "FROM scratch\nCOPY Dockerfile /etc/made-of\nLABEL kept=yes\n";

fn destination(kind: &str, path: &std::path::Path) -> String {
    format!("type={kind},dest={}", path.display())
}

#[test]
fn oci_layout_is_a_directory_when_asked_for() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let layout = kiln.path("layout");
    let output = format!("{},tar=false", destination("oci", &layout));
    kiln.build(
        &kiln.context(DOCKERFILE),
        &["-t", "example:1.0", "--output", &output],
    );
    let config = image::config(&format!("oci:{}", layout.display()));
    assert_eq!(config["config"]["Labels"]["kept"], "yes");
    let marker = fs::read_to_string(layout.join("oci-layout")).unwrap();
    assert!(marker.contains("1.0.0"), "{marker}");
}

#[test]
fn single_image_is_listed_in_an_index_when_asked_for() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let name = format!("{}/outputs/listed:1.0", world().registry.address());
    let argument = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=1"];
    kiln.build(
        &kiln.context(DOCKERFILE),
        &[&argument[..], &["-t", &name, "--push"]].concat(),
    );
    let raw = |name: &str| {
        let name = format!("docker://{name}");
        stdout_of(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &name]))
    };
    assert!(raw(&name).contains("image.index"), "{}", raw(&name));
    // What the store has as an index stays one.
    let other = format!("{}/outputs/other:1.0", world().registry.address());
    kiln.run(&["tag", &name, &other]);
    kiln.run(&["push", &other]);
    assert_eq!(raw(&other), raw(&name));
}

#[test]
fn local_output_is_the_root_file_system() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let target = kiln.path("local");
    kiln.build(
        &kiln.context(DOCKERFILE),
        &["--output", &destination("local", &target)],
    );
    assert_eq!(
        fs::read_to_string(target.join("etc/made-of")).unwrap(),
        DOCKERFILE
    );
}

#[test]
fn tar_output_goes_to_standard_output() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let mut command = kiln.command_with_mirror();
    command
        .args(["build", "--quiet", "--output", "type=tar,dest=-"])
        .arg(kiln.context(DOCKERFILE));
    let output = command.output().unwrap();
    fs::write(kiln.path("out.tar"), output.stdout).unwrap();
    let listed = stdout_of(Command::new("tar").arg("tf").arg(kiln.path("out.tar")));
    assert!(
        listed
            .lines()
            .any(|line| line.trim_start_matches("./") == "etc/made-of"),
        "{listed}"
    );
}

#[test]
fn zstd_layers_are_read_by_others() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let archive = kiln.path("image.tar");
    let output = format!("{},compression=zstd", destination("oci", &archive));
    kiln.build(&kiln.context(DOCKERFILE), &["--output", &output]);
    let source = format!("oci-archive:{}", archive.display());
    let layer = &image::manifest(&source)["layers"][0]["mediaType"];
    assert_eq!(layer, "application/vnd.oci.image.layer.v1.tar+zstd");
    let target = format!("dir:{}", kiln.path("copied").display());
    stdout_of(Command::new("skopeo").args(["copy", "--quiet", &source, &target]));
}

#[test]
fn same_input_gives_the_same_bytes() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let archives = [1, 2].map(|_| {
        let kiln = Kiln::new();
        let archive = kiln.path("image.tar");
        let mut command = kiln.command_with_mirror();
        command
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(["build", "-t", "example:1.0"]);
        command
            .args(["--output", &destination("oci", &archive)])
            .arg(kiln.context(DOCKERFILE));
        crate::harness::Ran::from(command).succeeded();
        fs::read(archive).unwrap()
    });
    assert!(
        archives[0] == archives[1],
        "two stores made different archives of one input"
    );
}

#[test]
fn layers_kept_from_an_earlier_build_get_the_times_of_a_later_one() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let epoch = "1700000000";
    let digests = |name: &str, dockerfile: &str| {
        let archive = kiln.path(name);
        let output = format!("{},compression=uncompressed", destination("oci", &archive));
        let ran = kiln.build(&kiln.context(dockerfile), &["--output", &output]);
        let config = image::config(&format!("oci-archive:{}", archive.display()));
        (ran.stderr, config)
    };
    let plain = "FROM scratch\nCOPY data /data\n";
    let stamped = format!("ARG SOURCE_DATE_EPOCH={epoch}\n{plain}");
    fs::write(kiln.context(plain).join("data"), "text").unwrap();
    let (_, today) = digests("today.tar", plain);
    let (told, then) = digests("then.tar", &stamped);
    assert!(told.contains("CACHED"), "{told}");
    assert_ne!(today["created"], then["created"]);
    assert_eq!(then["created"], "2023-11-14T22:13:20Z");
    assert_ne!(today["rootfs"], then["rootfs"]);
}

#[test]
fn image_is_pushed_pulled_tagged_listed_and_removed() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (kiln, other) = (Kiln::new(), Kiln::new());
    let name = format!("{}/outputs/example:1.0", world().registry.address());
    kiln.build(&kiln.context(DOCKERFILE), &["-t", &name]);
    kiln.run(&["push", &name]);
    assert_eq!(
        image::config(&format!("docker://{name}"))["config"]["Labels"]["kept"],
        "yes"
    );

    other.run(&["pull", &name]);
    other.run(&["tag", &name, "mine:2.0"]);
    assert!(other.run(&["images"]).contains("mine"));
    assert!(other.run(&["inspect", "mine:2.0"]).contains("\"kept\""));
    other.run(&["rmi", "mine:2.0"]);
    assert!(!other.run(&["images"]).contains("mine"));
    other.run(&["store", "verify"]);
}
