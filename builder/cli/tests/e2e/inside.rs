//! What a step has, seen from inside, beside what a container of Docker's engine has.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testdata::base::BASE_NAME;
use kiln_testdata::command::stdout_of;
use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, docker};

const PROBE: &str = include_str!("../../../../testdata/probe/inside.sh");
const CALLS: &str = include_str!("../../../../testdata/probe/calls.c");

/// What differs from Docker's engine, and why. `docs/sandbox.md` has the same list.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "mount./ ",
        "no mount of the host's is propagated to the root",
    ),
    ("mount./dev ", "access times in `/dev` are kept once a day"),
    ("mount./sys/fs/cgroup", "older control groups are not shown"),
    ("path./sys/fs/cgroup", "older control groups are not shown"),
    ("mount./etc/", "files of the step, in memory and read-only"),
    ("file./etc/resolv.conf", "empty where there is no network"),
    ("file./etc/hostname", "left as the image has it"),
    ("mount./probe", "how the probe comes into the container"),
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
    ("filesystem./sys ", "read-only by its mount"),
    (
        "filesystem./sys/fs/cgroup",
        "older control groups are not shown",
    ),
    (
        "filesystem./etc/",
        "files of the step, in memory and read-only",
    ),
    (
        "filesystem./proc/",
        "what hides also refuses devices and programs",
    ),
    (
        "filesystem./sys/",
        "what hides also refuses devices and programs",
    ),
    (
        "node.c_5_1",
        "the host's console does not open, as with BuildKit",
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

/// What becomes of system calls otherwise than in Docker's engine, and why; by a part of their name.
const CALL_DIFFERENCES: &[(&str, &str)] = &[
    ("AF_ALG", "refused, as in newer engines"),
    ("AF_VSOCK", "refused, as in newer engines"),
    ("io_uring", "refused, as in newer engines"),
    ("TIOCSTI", "nothing is typed into terminals"),
    ("TIOCLINUX", "nothing is typed into terminals"),
    ("name_to_handle_at", "allowed, as in newer engines"),
    ("process_vm_readv", "allowed, as in newer engines"),
    ("statmount", "newer calls that the profile knows"),
    (
        "set_mempolicy_home_node",
        "newer calls that the profile knows",
    ),
    ("lsm_list_modules", "newer calls that the profile knows"),
];

/// What a probe tells in a step and in a container of Docker's engine; the probe is a file `probe`
/// of `context`.
fn told(kiln: &Kiln, context: &Path, interpreter: &[&str]) -> [String; 2] {
    let output = kiln.path("out");
    let output = format!("type=local,dest={}", output.display());
    kiln.build(context, &["--network=none", "--output", &output]);
    let step = fs::read_to_string(kiln.path("out/result")).unwrap();
    let volume = format!("{}:/probe", context.join("probe").display());
    let mut run = docker().client();
    run.args(["run", "--rm", "--network=none", "--volume", &volume]);
    run.arg(BASE_NAME).args(interpreter).arg("/probe");
    [step, stdout_of(&mut run)]
}

/// Holds what differs to what is known to differ.
fn compare(step: &BTreeMap<String, String>, container: &BTreeMap<String, String>, known: Known) {
    assert!(container.len() > 60 && step.len() > 60, "{step:?}");
    let keys = step.keys().chain(container.keys());
    for key in keys.filter(|key| step.get(*key) != container.get(*key)) {
        assert!(
            known(key),
            "{key}: a step has {:?}, a container of Docker has {:?}",
            step.get(key),
            container.get(key)
        );
    }
}

type Known = fn(&str) -> bool;

#[test]
fn steps_have_what_containers_of_docker_have() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM debian:bookworm\nCOPY probe /\nRUN sh /probe >/result\n");
    fs::write(context.join("probe"), PROBE).unwrap();
    let [step, container] = told(&kiln, &context, &["sh"]).map(|text| properties(&text));
    compare(&step, &container, |key| {
        DIFFERENCES.iter().any(|(known, _)| key.starts_with(known))
    });
}

#[test]
fn system_calls_end_as_in_containers_of_docker() {
    let compiler = [Need::Program("gcc")];
    if !needs::met(needs::PEERS) || !needs::met(&compiler) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM debian:bookworm\nCOPY probe /\nRUN /probe >/result\n");
    fs::write(kiln.path("calls.c"), CALLS).unwrap();
    let mut compile = Command::new("gcc");
    compile.args(["-static", "-O1", "-o"]);
    compile.arg(context.join("probe")).arg(kiln.path("calls.c"));
    stdout_of(&mut compile);
    let [step, container] = told(&kiln, &context, &[]).map(|text| results(&text));
    compare(&step, &container, |call| {
        CALL_DIFFERENCES
            .iter()
            .any(|(known, _)| call.contains(known))
    });
}

/// Results of calls, by the mode and the name of the call: `MODE CALL RESULT`.
fn results(text: &str) -> BTreeMap<String, String> {
    let split = |line: &str| {
        let (call, result) = line.rsplit_once(' ').unwrap_or((line, ""));
        (call.to_owned(), result.to_owned())
    };
    text.lines().map(split).collect()
}

#[test]
fn differences_from_docker_are_documented() {
    let page = include_str!("../../../../docs/sandbox.md");
    for (_, reason) in DIFFERENCES.iter().chain(CALL_DIFFERENCES) {
        assert!(page.contains(reason), "{reason}");
    }
}
