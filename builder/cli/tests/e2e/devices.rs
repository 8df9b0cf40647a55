//! Devices of the machine in steps, by the names of CDI.

use std::fs;

use kiln_testdata::needs;

use crate::harness::{Kiln, Ran};

const DESCRIPTION: &str = "cdiVersion: 0.6.0
kind: kiln.test/zero
devices:
- name: one
  containerEdits:
    env: [WHICH=one]
    deviceNodes:
    - path: /dev/nothing-but-zeros
      hostPath: /dev/zero
- name: hooked
  containerEdits:
    hooks:
    - hookName: createContainer
      path: /bin/true
";

/// Builds with the device `name`, which the step reads.
fn build(kiln: &Kiln, name: &str, arguments: &[&str]) -> Ran {
    let directory = kiln.path("cdi");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("test.yaml"), DESCRIPTION).unwrap();
    let dockerfile = format!(
        "FROM debian:bookworm\nRUN --device={name} \
         test $(head -c 7 /dev/nothing-but-zeros | wc -c)$WHICH = 7one\n"
    );
    let directory = format!("--cdi-spec-dir={}", directory.display());
    let mut all = vec![directory.as_str()];
    all.extend(arguments);
    kiln.try_build(&kiln.context(&dockerfile), &all)
}

#[test]
fn device_is_there_for_a_step_that_is_allowed_it() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let allowed = ["--allow", "device=kiln.test/zero"];
    build(&kiln, "kiln.test/zero=one,required", &allowed).succeeded();
    build(&kiln, "kiln.test/zero=one", &[])
        .failed_saying(3, &["Dockerfile:2:14", "--allow device=kiln.test/zero=one"]);
}

#[test]
fn device_that_cannot_be_had_is_named() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let allowed = ["--allow", "device"];
    build(&kiln, "kiln.test/zero=two,required", &allowed)
        .failed_saying(1, &["no device `kiln.test/zero=two`", "hint:"]);
    build(&kiln, "kiln.test/zero=hooked", &allowed)
        .failed_saying(1, &["`kiln.test/zero=hooked` needs a program", "hook"]);
    // Not required: the step runs without, and finds nothing.
    build(&kiln, "kiln.test/zero=two", &allowed)
        .failed_saying(1, &["no device `kiln.test/zero=two`", "runs without it"]);
}
