//! What a step has, seen from inside, beside what a container of Docker's engine has.

use std::collections::BTreeMap;
use std::fs;

use kiln_testdata::base::BASE_NAME;
use kiln_testdata::command::stdout_of;
use kiln_testdata::needs;

use crate::harness::{Kiln, docker};

const PROBE: &str = include_str!("../../../../testdata/probe/inside.sh");

/// What differs from Docker's engine, and why. `docs/sandbox.md` has the same list.
const DIFFERENCES: &[(&str, &str)] = &[
    ("mount./dev ", "access times in `/dev` are kept once a day"),
    ("mount./sys/fs/cgroup", "older control groups are not shown"),
    ("path./sys/fs/cgroup", "older control groups are not shown"),
    ("mount./etc/", "files of the step, in memory and read-only"),
    ("file./etc/resolv.conf", "empty where there is no network"),
    ("file./etc/hostname", "left as the image has it"),
    ("mount./inside.sh", "how the probe comes into the container"),
    (
        "mount./proc/",
        "what hides also refuses devices and programs",
    ),
    (
        "mount./sys/firmware",
        "what hides also refuses devices and programs",
    ),
    (
        "mount./sys/devices/",
        "what hides also refuses devices and programs",
    ),
    ("path./proc/interrupts", "hidden, as in newer engines"),
    (
        "path./sys/devices/virtual/powercap",
        "hidden, as in newer engines",
    ),
    ("cgroup", "the step's own group is the top of what it sees"),
    ("processes", "process 1 is Kiln's, which reaps"),
];

/// Properties by their keys.
fn properties(text: &str) -> BTreeMap<String, String> {
    let split = |line: &str| {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        // A space, so that a table can name a key and not those that begin with it.
        (format!("{key} "), value.to_owned())
    };
    text.lines().map(split).collect()
}

#[test]
fn steps_have_what_containers_of_docker_have() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context =
        kiln.context("FROM debian:bookworm\nCOPY inside.sh /\nRUN sh /inside.sh >/result\n");
    let probe = context.join("inside.sh");
    fs::write(&probe, PROBE).unwrap();
    let output = kiln.path("out");
    let output = format!("type=local,dest={}", output.display());
    kiln.build(&context, &["--network=none", "--output", &output]);
    let step = properties(&fs::read_to_string(kiln.path("out/result")).unwrap());
    let volume = format!("{}:/inside.sh", probe.display());
    let mut run = docker().client();
    run.args([
        "run",
        "--rm",
        "--network=none",
        "--volume",
        &volume,
        BASE_NAME,
    ]);
    let container = properties(&stdout_of(run.args(["sh", "/inside.sh"])));
    assert!(container.len() > 60 && step.len() > 60, "{step:?}");
    let keys = step.keys().chain(container.keys());
    for key in keys.filter(|key| step.get(*key) != container.get(*key)) {
        let is_known = DIFFERENCES.iter().any(|(known, _)| key.starts_with(known));
        assert!(
            is_known,
            "{key}: a step has {:?}, a container of Docker has {:?}",
            step.get(key),
            container.get(key)
        );
    }
}

#[test]
fn differences_from_docker_are_documented() {
    let page = include_str!("../../../../docs/sandbox.md");
    for (_, reason) in DIFFERENCES {
        assert!(page.contains(reason), "{reason}");
    }
}
