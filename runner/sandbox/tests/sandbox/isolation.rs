//! What a command cannot see or do.

use std::path::Path;

use kiln_sandbox::runspec::{ControlGroups, Host, ResolvedUser};
use kiln_sandbox::{Sandbox, SandboxError, Status};

use crate::Case;
use crate::fixture::Fixture;

pub const CASES: &[Case] = &[
    (
        "capabilities_are_the_default_ones",
        capabilities_are_the_default_ones,
    ),
    (
        "other_users_have_no_effective_capabilities",
        other_users_have_none,
    ),
    (
        "only_standard_descriptors_are_open",
        only_standard_descriptors_are_open,
    ),
    (
        "processes_of_the_host_are_invisible",
        processes_of_the_host_are_invisible,
    ),
    ("without_network_there_is_loopback_alone", loopback_alone),
    (
        "working_directory_cannot_leave_the_root",
        working_directory_stays_inside,
    ),
    ("devices_of_the_image_do_not_open", devices_do_not_open),
    (
        "unified_hierarchies_filter_devices_by_program",
        device_programs,
    ),
    (
        "without_control_groups_mounts_refuse_devices",
        without_control_groups,
    ),
    ("mounts_cannot_be_changed", mounts_cannot_be_changed),
    (
        "program_of_the_hidden_mode_is_out_of_reach",
        program_is_out_of_reach,
    ),
];

fn capabilities_are_the_default_ones() {
    let ran = Fixture::new().run("grep -E 'Cap|NoNew|Seccomp' /proc/self/status");
    let text = ran.succeeded().replace('\t', " ");
    for line in [
        "CapInh: 0000000000000000",
        "CapPrm: 00000000a80425fb",
        "CapEff: 00000000a80425fb",
        "CapBnd: 00000000a80425fb",
        "CapAmb: 0000000000000000",
        "NoNewPrivs: 0",
        "Seccomp: 2",
        "Seccomp_filters: 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

fn other_users_have_none() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("id -u; id -G; grep Cap /proc/self/status; echo x >/dev/stdout");
    spec.user = ResolvedUser {
        uid: 1000,
        gid: 1001,
        groups: vec![7, 1001],
    };
    let ran = fixture.run_spec(&spec);
    let text = ran.succeeded().replace('\t', " ");
    assert!(text.starts_with("1000\n1001 7\n"), "{text}");
    for line in [
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "CapBnd: 00000000a80425fb",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

fn only_standard_descriptors_are_open() {
    // `ls` itself opens the directory it lists; process 1 has its socket.
    let script = "ls /proc/self/fd; readlink /proc/self/cwd
        cat /proc/1/fd/3; readlink /proc/1/fd/3; ls /proc/1/cwd/; exit 0";
    let ran = Fixture::new().run(script);
    assert_eq!(ran.succeeded(), "0\n1\n2\n3\n/\n", "{}", ran.stderr);
    assert_eq!(
        ran.stderr.matches("ermission denied").count(),
        2,
        "{}",
        ran.stderr
    );
}

fn processes_of_the_host_are_invisible() {
    let ran = Fixture::new().run("echo /proc/[0-9]*; hostname; cat /proc/1/environ");
    assert!(ran.stdout.starts_with("/proc/1 /proc/2"), "{}", ran.stdout);
    assert!(ran.stdout.contains("buildkitsandbox\n"), "{}", ran.stdout);
    assert_ne!(ran.status(), Status::Exited(0));
}

fn loopback_alone() {
    let ran = Fixture::new().run("ls /sys/class/net; ip -o addr; cat /etc/resolv.conf");
    let text = ran.succeeded();
    assert!(text.starts_with("lo\n"), "{text}");
    assert!(text.contains("127.0.0.1/8"), "{text}");
    assert!(text.contains("nameserver 192.0.2.1"), "{text}");
}

fn working_directory_stays_inside() {
    let fixture = Fixture::new();
    for (path, expected) in [
        ("/a/../../../made/here", "/made/here\n"),
        ("/proc/self/fd", ""),
    ] {
        let mut spec = fixture.spec("pwd");
        spec.working_directory = path.into();
        let ran = fixture.run_spec(&spec);
        if !expected.is_empty() {
            assert_eq!(ran.succeeded(), expected);
        }
    }
    let mut spec = fixture.spec("pwd");
    spec.working_directory = "/proc/self/fd/3/..".into();
    assert!(fixture.run_spec(&spec).result.is_err());
}

fn devices_do_not_open() {
    refuse_devices(&Fixture::new());
}

fn without_control_groups() {
    let mut fixture = Fixture::new();
    let host = Host {
        control_groups: ControlGroups::Unavailable {
            reason: "none here".into(),
        },
        ..fixture.sandbox.host().clone()
    };
    fixture.sandbox = Sandbox::new(host).expect("a sandbox");
    refuse_devices(&fixture);
    let ran = fixture.run("mknod /dev/disk b 8 0 && head -c1 /dev/disk || echo no");
    assert_eq!(ran.succeeded(), "no\n");
}

/// On a hybrid host the unified hierarchy has no controllers, but takes programs.
fn device_programs() {
    let mut fixture = Fixture::new();
    let host = fixture.sandbox.host().clone();
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let unified = places
        .iter()
        .map(Path::new)
        .find(|place| place.join("cgroup.procs").exists());
    let Some(directory) = unified else {
        println!("  SKIPPED: no unified hierarchy");
        return;
    };
    let host = Host {
        control_groups: ControlGroups::Unified {
            directory: directory.to_owned(),
            controllers: Vec::new(),
        },
        device_programs: true,
        ..host
    };
    fixture.sandbox = Sandbox::new(host.clone()).expect("a sandbox");
    if let Err(error @ SandboxError::ControlGroup { .. }) = fixture.run("true").result {
        println!("  SKIPPED: {error}");
        return;
    }
    refuse_devices(&fixture);
    let script = "mknod /tmp/null c 1 3 && echo x >/tmp/null && mknod /tmp/pmem c 1 1
        mknod /tmp/rtc c 10 135; cat /tmp/rtc 2>&1; cat /proc/self/cgroup | grep ^0:; ls /sys/fs/cgroup | head -1
        touch /sys/fs/cgroup/x 2>/dev/null || echo no";
    let ran = fixture.run(script);
    let expected =
        "cat: can't open '/tmp/rtc': Operation not permitted\n0::/\ncgroup.controllers\nno\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    let group = directory.join(format!("{}-devices", host.control_group_prefix));
    assert!(group.exists());
    drop(fixture);
    assert!(!group.exists());
}

fn refuse_devices(fixture: &Fixture) {
    let script = "mknod /tmp/disk b 8 0; mknod /tmp/memory c 1 1; mknod /tmp/null c 1 3
        head -c1 /tmp/disk || echo no; head -c1 /tmp/memory || echo no
        echo x >/dev/null && head -c4 /dev/zero | wc -c && head -c4 /dev/urandom | wc -c";
    let ran = fixture.run(script);
    assert_eq!(ran.succeeded(), "no\nno\n4\n4\n", "{}", ran.stderr);
}

fn mounts_cannot_be_changed() {
    let script = "umount /proc; umount /etc/hosts; mount -o remount,rw /sys
        mount -t tmpfs none /tmp; touch /sys/x; echo 1 >/proc/sys/vm/drop_caches
        mkdir /sys/fs/cgroup/x; head -c1 /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware 2>/dev/null | wc -l
        cat /proc/timer_list 2>/dev/null | wc -c; exit 0";
    let ran = Fixture::new().run(script);
    assert_eq!(ran.succeeded(), "0\n0\n0\n");
    assert_eq!(ran.stderr.lines().count(), 7, "{}", ran.stderr);
}

fn program_is_out_of_reach() {
    let fixture = Fixture::new();
    let script = "(echo x >/proc/1/exe) 2>&1; cat /proc/1/exe 2>&1 | head -c 200; exit 0";
    let ran = fixture.run(script);
    assert_eq!(
        ran.succeeded().matches("ermission denied").count(),
        2,
        "{}",
        ran.stdout
    );
    let script = "printf '#!/proc/self/exe\\n' >/tmp/x; busybox chmod 755 /tmp/x; /tmp/x; exit 0";
    fixture.run(script).succeeded();
}
