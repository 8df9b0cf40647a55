//! Limits on all processes together, and on each.

use std::fs;
use std::path::PathBuf;

use kiln_sandbox::runspec::{ControlGroups, Host, Limits, ResourceLimit};
use kiln_sandbox::{Sandbox, Status, host};

use crate::Case;
use crate::fixture::Fixture;

pub const CASES: &[Case] = &[
    (
        "memory_limit_kills_and_is_told",
        memory_limit_kills_and_is_told,
    ),
    (
        "process_limit_stops_a_fork_bomb",
        process_limit_stops_a_fork_bomb,
    ),
    (
        "processor_limits_are_accepted",
        processor_limits_are_accepted,
    ),
    (
        "limits_hold_this_process_and_all_runs_together",
        limits_hold_all_together,
    ),
    ("what_a_run_took_is_told", what_a_run_took_is_told),
    (
        "resource_limits_reach_the_command",
        resource_limits_reach_the_command,
    ),
];

/// Names of this process' control groups that exist, wherever they are.
fn own_groups(host: &Host) -> Vec<String> {
    let parents: Vec<&PathBuf> = match &host.control_groups {
        ControlGroups::PerController { controllers } => {
            controllers.iter().map(|(_, directory)| directory).collect()
        }
        ControlGroups::Unified { directory, .. } => vec![directory],
        ControlGroups::Unavailable { reason } => panic!("no control groups: {reason}"),
    };
    let entries = parents
        .iter()
        .flat_map(|parent| fs::read_dir(parent).expect("groups"));
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&host.control_group_prefix))
        .collect()
}

fn memory_limit_kills_and_is_told() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("dd if=/dev/zero of=/dev/null bs=100M count=1; exit $?");
    spec.limits.memory_bytes = Some(24 << 20);
    let ran = fixture.run_spec(&spec);
    assert_eq!(ran.status(), Status::Exited(137), "{}", ran.stderr);
    let outcome = ran.result.expect("an outcome");
    assert!(outcome.out_of_memory);
    assert!(outcome.peak_memory_bytes.is_some_and(|peak| peak > 1 << 20));
    let host = fixture.sandbox.host().clone();
    assert_ne!(own_groups(&host), Vec::<String>::new());
    drop(fixture.sandbox);
    assert_eq!(own_groups(&host), Vec::<String>::new());
}

fn process_limit_stops_a_fork_bomb() {
    let fixture = Fixture::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; echo all";
    let mut spec = fixture.spec(script);
    spec.limits.pids = Some(6);
    let ran = fixture.run_spec(&spec);
    assert_ne!(ran.status(), Status::Exited(0), "{}", ran.stdout);
    assert!(ran.stderr.contains("fork"), "{}", ran.stderr);
    assert!(ran.result.is_ok_and(|outcome| outcome.out_of_processes));
}

fn processor_limits_are_accepted() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("true");
    spec.limits = Limits {
        cpu_period_microseconds: Some(50_000),
        cpu_quota_microseconds: Some(40_000),
        cpu_shares: Some(512),
        cpuset_cpus: Some("0".into()),
        ..Limits::default()
    };
    fixture.run_spec(&spec).succeeded();
}

fn limits_hold_all_together() {
    let group = || fs::read_to_string("/proc/self/cgroup").expect("its groups");
    let before = group();
    let mut fixture = Fixture::new();
    let limits = Limits {
        memory_bytes: Some(96 << 20),
        cpu_quota_microseconds: Some(90_000),
        cpuset_cpus: Some("0".into()),
        ..Limits::default()
    };
    fixture.sandbox = Sandbox::limited(host::probe(), &limits).expect("a limited sandbox");
    let own = fixture.sandbox.host().clone();
    let name = format!("{}-limits", own.control_group_prefix);
    assert!(group().contains(&name), "{}", group());
    let spec = fixture.spec("dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?");
    let ran = fixture.run_spec(&spec);
    assert_eq!(ran.status(), Status::Exited(137), "{}", ran.stderr);
    let outcome = ran.result.expect("an outcome");
    assert!(outcome.out_of_memory);
    let peak = outcome.peak_memory_bytes.expect("a peak");
    assert!((1 << 20..97 << 20).contains(&peak), "{peak}");
    // What another run takes is counted for itself.
    let outcome = fixture.run("true").result.expect("an outcome");
    assert!(!outcome.out_of_memory);
    assert!(
        outcome
            .peak_memory_bytes
            .is_some_and(|peak| peak < 64 << 20)
    );
    drop(fixture);
    assert_eq!(group(), before);
    assert_eq!(own_groups(&host::probe()), Vec::<String>::new());
}

fn what_a_run_took_is_told() {
    let fixture = Fixture::new();
    let script =
        "dd if=/dev/urandom of=/file bs=30M count=1; (dd if=/file of=/dev/null bs=1M &) ; wait";
    let outcome = fixture.run(script).result.expect("an outcome");
    let usage = outcome.usage.expect("what it took");
    assert!(usage.user_microseconds + usage.system_microseconds > 1000);
    assert!(usage.largest_process_bytes > 30 << 20, "{usage:?}");
    // In memory nothing is written for a disk.
    assert!(
        usage.written_bytes == 0 || usage.written_bytes >= 30 << 20,
        "{usage:?}"
    );
}

fn resource_limits_reach_the_command() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("ulimit -Sn; ulimit -Hn");
    spec.resource_limits = vec![ResourceLimit {
        name: "nofile".into(),
        soft: 100,
        hard: 200,
    }];
    assert_eq!(fixture.run_spec(&spec).succeeded(), "100\n200\n");
}
