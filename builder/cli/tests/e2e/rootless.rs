//! Builds by an unprivileged user: the same images as root's.

use std::fs;
use std::path::Path;

use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, world};

const NEEDS: &[Need] = &[
    Need::Unprivileged,
    Need::Program("docker-registry"),
    Need::Program("skopeo"),
    Need::Program("newuidmap"),
];

#[test]
fn user_builds_with_several_owners_and_runs_steps_as_them() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(
        "FROM debian:bookworm\n\
         COPY --chown=33:33 Dockerfile /srv/\n\
         RUN stat --format=%u:%g /srv/Dockerfile && id -un && chown 1000:1000 /srv\n\
         USER www-data\n\
         RUN id -un && ! touch /srv/file\n",
    );
    let archive = kiln.path("image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let ran = kiln.build(&context, &["-t", "example", "--output", &output]);
    for line in [" 33:33", " root", " www-data"] {
        assert!(
            ran.stderr.lines().any(|said| said.ends_with(line)),
            "{}",
            ran.description()
        );
    }
    assert!(
        owners_in(&archive, "srv").contains(&(1000, 1000)),
        "{}",
        ran.description()
    );
    kiln.run(&["store", "verify"]);
}

#[test]
fn user_installs_packages() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(
        "FROM debian:bookworm\n\
         RUN apt-get update && apt-get install -y --no-install-recommends make && make --version\n",
    );
    let name = format!("{}/rootless/example:1", world().registry.address());
    kiln.build(&context, &["-t", &name, "--push"]);
    assert!(kiln.build(&context, &["-t", &name]).executed_steps() == 0);
}

/// Returns the owners of `path` in all layers of the OCI archive.
fn owners_in(archive: &Path, path: &str) -> Vec<(u32, u32)> {
    let layers = archive.with_extension("layers");
    let source = format!("oci-archive:{}", archive.display());
    let target = format!("dir:{}", layers.display());
    kiln_testdata::command::stdout_of(std::process::Command::new("skopeo").args([
        "copy",
        "--quiet",
        "--dest-decompress",
        &source,
        &target,
    ]));
    let files = fs::read_dir(&layers).expect("layers").flatten();
    files
        .flat_map(|file| kiln_testdata::image::owners_in_tar(&file.path(), path))
        .collect()
}
