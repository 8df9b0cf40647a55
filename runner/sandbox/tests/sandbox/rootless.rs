//! The same without being root: this test starts itself again as another user.

use std::process::Command;

use kiln_sandbox::runspec::NetworkSpec;
use kiln_sandbox::user_namespace::{Entered, enter_if_unprivileged};

use crate::Case;
use crate::fixture::Fixture;

pub const CASES: &[Case] = &[
    ("unprivileged_user_can_run_steps", unprivileged_user_can_run),
    (
        "user_with_ranges_of_ids_can_run_steps",
        user_with_ranges_can_run,
    ),
];

/// Environment variable that says: this is the unprivileged one.
pub const MARK: &str = "KILN_SANDBOX_UNPRIVILEGED";

/// A user id without name and ranges; another one can be given for a try by hand.
const NOBODY: &str = "65534";

/// A user with name and ranges, where there is one.
const USER_WITH_RANGES: &str = "kilntest";

fn unprivileged_user_can_run() {
    let user = std::env::var("KILN_SANDBOX_TEST_USER").unwrap_or(NOBODY.to_owned());
    run_as(&user);
}

fn user_with_ranges_can_run() {
    let ranges = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    let begins = format!("{USER_WITH_RANGES}:");
    match ranges.lines().any(|line| line.starts_with(&begins)) {
        true => run_as(USER_WITH_RANGES),
        false => println!("  SKIPPED: no user {USER_WITH_RANGES} with subordinate ids"),
    }
}

fn run_as(user: &str) {
    // Built programs may lie where other users cannot look.
    let directory = tempfile::Builder::new()
        .prefix("kiln-sandbox-program-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let program = directory.path().join("test");
    std::fs::copy("/proc/self/exe", &program).expect("a copy of this test");
    let output = Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--clear-groups"])
        .arg(&program)
        .env(MARK, "1")
        .env("TMPDIR", "/tmp")
        .output()
        .expect("setpriv");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("rootless: done"), "{text}{errors}");
}

/// What the unprivileged one does; also what is left to do for a user who is not root.
pub fn run_as_unprivileged() -> ! {
    match enter_if_unprivileged() {
        Ok(Entered::AlreadyRoot) => panic!("this should not be root"),
        Ok(entered) => println!("  {entered:?}"),
        Err(error) if std::env::var_os(MARK).is_none() => {
            println!("sandbox tests SKIPPED: {error}: {}", error.source);
            std::process::exit(0)
        }
        Err(error) => panic!("{error}: {:?}", error.source),
    }
    for network in [NetworkSpec::None, NetworkSpec::Host] {
        steps_run(network);
    }
    let cases = crate::escapes::ON_EVERY_RUNG.iter();
    for (name, case) in cases.chain(crate::calls::ON_EVERY_RUNG) {
        println!("  {name}");
        case();
    }
    crate::owners::run();
    println!("rootless: done");
    std::process::exit(0)
}

fn steps_run(network: NetworkSpec) {
    let fixture = Fixture::new();
    assert!(fixture.sandbox.host().rung.is_user_namespace());
    let script = "id -u; cat /proc/1/comm >/dev/null; rm /etc/passwd; mkdir -p /new/dir
        rm -r /root; mkdir /root; echo x >/dev/null; head -c2 /dev/zero | wc -c; ls /proc/1/fd/3/ 2>/dev/null
        grep -E '^(CapEff|Seccomp):' /proc/self/status
        touch /sys/x 2>/dev/null || echo no; cat /etc/hosts";
    let mut spec = fixture.spec(script);
    spec.network = network;
    spec.working_directory = "/work/dir".into();
    let ran = fixture.run_spec(&spec);
    let expected = "0\n2\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nno\n127.0.0.1 localhost\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    let changes = [
        "/etc",
        "/etc/passwd",
        "/new",
        "/new/dir",
        "/root",
        "/work",
        "/work/dir",
    ];
    assert_eq!(fixture.changes(), changes);
}
