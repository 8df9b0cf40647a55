//! What becomes of system calls, tried from inside, one by one.

use std::process::Command;

use kiln_sandbox::runspec::{ControlGroups, ResolvedUser, Users};

use crate::Case;
use crate::fixture::Fixture;

pub const CASES: &[Case] = &[(
    "users_get_no_raw_sockets_by_any_way",
    users_get_no_raw_sockets,
)];

/// What holds for root and for users.
pub const ON_EVERY_RUNG: &[Case] = &[(
    "system_calls_end_as_the_table_says",
    calls_end_as_the_table_says,
)];

const SOURCE: &str = include_str!("../../../../testdata/probe/calls.c");

/// What calls end with: an error of the filter, or `through` for whatever the kernel says.
const TABLE: &str = include_str!("calls.txt");

/// Calls that kernels may lack: then the error is not the filter's.
const MAY_BE_ABSENT: [&str; 5] = [
    "statmount",
    "memfd_secret",
    "landlock_create_ruleset",
    "read",
    "ptrace",
];

/// Compiles the probe into the root; `None` where no compiler is.
fn install(fixture: &Fixture) -> Option<()> {
    let source = fixture.path("calls.c");
    std::fs::write(&source, SOURCE).expect("the source");
    let mut compiler = Command::new("gcc");
    compiler.args(["-static", "-O1", "-o"]);
    compiler.arg(fixture.path("lower/bin/calls")).arg(&source);
    match compiler.status() {
        Ok(status) => assert!(status.success(), "the probe cannot be compiled"),
        Err(error) => {
            println!("  SKIPPED: gcc: {error}");
            return None;
        }
    }
    Some(())
}

fn calls_end_as_the_table_says() {
    let fixture = Fixture::new();
    if install(&fixture).is_some() {
        check(&fixture);
    }
}

/// Holds what the probe says to the table.
fn check(fixture: &Fixture) {
    let ran = fixture.run("calls");
    let found: Vec<String> = ran.succeeded().lines().map(judged).collect();
    let is_here = |line: &&str| cfg!(target_arch = "x86_64") && !line.is_empty();
    let table: Vec<&str> = TABLE.lines().filter(is_here).collect();
    for (found, expected) in found.iter().zip(&table) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), table.len());
}

fn judged(line: &str) -> String {
    let (call, result) = line.rsplit_once(' ').expect("a call and a result");
    let name = call.rsplit(' ').next().unwrap_or_default();
    let result = match result {
        "EPERM" => "EPERM",
        "ENOSYS" if !MAY_BE_ABSENT.contains(&name) => "ENOSYS",
        _ => "through",
    };
    format!("{call} {result}")
}

fn users_get_no_raw_sockets() {
    let fixture = Fixture::new();
    if install(&fixture).is_none() {
        return;
    }
    let expected = "native socket(AF_INET) ok\nnative socket(raw) EPERM\n\
        native socket(AF_PACKET) EPERM\n";
    let x86 = "x86 socket(AF_INET) ok\nx86 socketcall(AF_INET) ok\n\
        x86 socketcall(AF_PACKET) EPERM\nx86 socketcall(raw) EPERM\n";
    let x86 = if cfg!(target_arch = "x86_64") {
        x86
    } else {
        ""
    };
    let expected = format!("{expected}{x86}");
    let own = Users::Own {
        start: 0x30_0000,
        count: 65_536,
    };
    for users in [Users::Host, own] {
        let mut spec = fixture.spec("calls | grep -E 'raw|PACKET|AF_INET'");
        spec.confinement.users = users;
        // The group of the run before is removed in the background.
        spec.cgroup_name = format!("test-{}", (users == Users::Host) as u8);
        spec.user = ResolvedUser {
            uid: 1000,
            gid: 1000,
            groups: Vec::new(),
        };
        // The one who answers is none of the processes of the step but the first.
        spec.limits.pids = limits_processes(&fixture).then_some(4);
        let ran = fixture.run_spec(&spec);
        assert_eq!(ran.succeeded(), expected, "{users:?} {}", ran.stderr);
    }
}

fn limits_processes(fixture: &Fixture) -> bool {
    match &fixture.sandbox.host().control_groups {
        ControlGroups::PerController { controllers } => {
            controllers.iter().any(|(name, _)| name == "pids")
        }
        ControlGroups::Unified { controllers, .. } => controllers.iter().any(|name| name == "pids"),
        ControlGroups::Unavailable { .. } => false,
    }
}
