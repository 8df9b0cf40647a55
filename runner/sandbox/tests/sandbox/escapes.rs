//! Attempts to get out, or to change the host, with what must come of them.
//!
//! Each is done by root of a step and by another user where there is one, without a network and
//! on the host's, with the host's users and with own ones, as whoever runs the tests. The host is
//! looked at before and after.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use kiln_sandbox::Status;
use kiln_sandbox::runspec::{
    Landlock, MountKind, MountSpec, NetworkSpec, ResolvedUser, Root, RunSpec, Rung, SystemCalls,
    Users,
};

use crate::Case;
use crate::fixture::Fixture;

/// Those that hold for root and for users, with ranges of ids or without.
pub const ON_EVERY_RUNG: &[Case] = &[
    ("nothing_that_a_step_tries_gets_out", nothing_gets_out),
    (
        "what_a_step_leaves_does_no_harm_to_the_next",
        leftovers_do_no_harm,
    ),
    (
        "shared_directories_that_change_lead_nowhere",
        racing_links_lead_nowhere,
    ),
    (
        "mount_points_that_a_step_moved_are_not_removed_elsewhere",
        moved_mount_points,
    ),
    ("changing_roots_twice_ends_at_the_root", changing_roots),
    ("abstract_sockets_are_out_of_reach", abstract_sockets),
    ("groups_deny_as_they_allow", groups_deny_as_they_allow),
    ("keys_of_the_caller_are_left", keys_are_left),
    (
        "protection_from_the_killer_is_given_up",
        protection_is_given_up,
    ),
];

/// What is tried, and what it says when it fails as it must.
const ATTEMPTS: &[(&str, &str)] = &[
    (
        "(echo x >/proc/self/exe) 2>/dev/null || echo no; (echo x >/proc/1/exe) 2>/dev/null || echo no
        cat /proc/1/exe 2>/dev/null | wc -c; for d in root/ cwd/ map_files/; do ls /proc/1/$d; readlink /proc/1/fd/*; done 2>/dev/null | wc -l
        head -c1 /proc/1/mem 2>/dev/null | wc -c; cat /proc/1/environ 2>/dev/null | wc -c",
        "no\nno\n0\n0\n0\n0\n",
    ),
    (
        "for i in 3 4 5 6 7 8 9 10 11 12; do cat /proc/self/fd/$i/etc/shadow; ls /proc/self/fd/$i/..
        cat /proc/1/fd/$i/etc/passwd; done 2>/dev/null | wc -c; readlink /proc/self/cwd; readlink /proc/self/root",
        "0\n/\n/\n",
    ),
    (
        "for p in acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats; do
        cat /proc/$p; ls /proc/$p/; umount /proc/$p && echo umounted; mount --bind /proc/version /proc/$p && echo bound
        done 2>/dev/null | wc -c; ls -A /sys/firmware | wc -l",
        "0\n0\n",
    ),
    (
        "for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/drop_caches /proc/sysrq-trigger \
        /proc/sys/kernel/hostname /proc/sys/net/ipv4/ip_forward /sys/kernel/uevent_helper /sys/power/state /proc/bus/x \
        /proc/irq/default_smp_affinity; do (echo 1 >$f) 2>/dev/null && echo wrote $f; done
        (echo -1000 >/proc/self/oom_score_adj) 2>/dev/null && echo lowered; echo done",
        "done\n",
    ),
    (
        "mount -t cgroup -o memory x /tmp && echo mounted; mount -t cgroup2 x /tmp && echo mounted
        mkdir /sys/fs/cgroup/x && echo made; busybox unshare -UrmC true && echo unshared; busybox unshare -m true && echo unshared
        for f in $(find /sys -name release_agent -o -name cgroup.procs | head -20); do (echo /x >$f) && echo wrote; done; echo done",
        "done\n",
    ),
    (
        "for n in 'b 8 0' 'b 7 0' 'b 254 0' 'c 1 1' 'c 1 2' 'c 1 4' 'c 1 11' 'c 4 0' 'c 5 1' 'c 10 229' 'c 10 232' 'c 10 237'; do
        rm -f /tmp/d; mknod /tmp/d $n || continue
        # An empty file that stands for the device gives back what it is given.
        (echo own $n >/tmp/d) && test \"$(cat /tmp/d)\" = \"own $n\" && continue
        (head -c1 /tmp/d) >/dev/null && echo read $n; (echo x >/tmp/d) && echo wrote $n
        done; echo done",
        "done\n",
    ),
    (
        "hostname x && echo named; busybox date -s 200101010000 >/dev/null; busybox date +%Y | grep 2001; ulimit -n 100000000 && echo limited
        busybox renice -n -20 $$ >/dev/null && echo reniced; busybox swapoff -a && echo off
        busybox losetup /dev/loop0 /bin/sh && echo looped; busybox reboot -f && echo rebooted; busybox insmod /bin/sh && echo inserted; echo done",
        "done\n",
    ),
    (
        "for p in $(grep -o '/[^,: ]*' /proc/self/mountinfo | grep -E 'lower|upper|work|layers'); do ls $p && echo reachable $p; done
        ls /proc/1/root/../.. >/dev/null && echo reachable; cd /; cd ../../..; pwd; echo done",
        "/\ndone\n",
    ),
    (
        "for p in /etc/hosts /etc/resolv.conf /dev/shm /dev /sys /proc /; do umount $p && echo umounted $p; umount -l $p && echo umounted $p
        mount -o remount,rw $p && echo remounted $p; mount --bind / $p && echo bound $p; done
        (echo x >>/etc/hosts) && echo wrote; rm /etc/resolv.conf && echo removed; touch /sys/x && echo touched; echo done",
        "done\n",
    ),
    (
        "ls -d /proc/[0-9]* | wc -l | grep -c '^[0-9]$'; cat /proc/[0-9]*/environ | grep -c CARGO; cat /proc/[0-9]*/cmdline | grep -cE '[t]arget|[s]ys/fs|[k]iln-[0-9]'",
        "1\n0\n0\n",
    ),
    (
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=100; stat -c %s /dev/shm/x; rm -f /dev/shm/x",
        "67108864\n",
    ),
    (
        "grep -E '^(CapInh|CapAmb):' /proc/self/status | grep -v 0000000000000000; echo done",
        "done\n",
    ),
];

/// A file that everybody may read but its group: who is in that group, by whatever way, may not. No
/// group of the caller's is left.
fn groups_deny_as_they_allow() {
    let fixture = Fixture::new();
    if fixture.sandbox.host().rung == Rung::SingleId {
        // There are no groups but root's; what a user is told of them, `owners.rs` tests.
        return;
    }
    for (name, group) in [("own", 1001), ("more", 7), ("others", 8)] {
        let path = fixture.path("lower").join(name);
        fs::write(&path, "read\n").expect("a file");
        std::os::unix::fs::chown(&path, None, Some(group)).expect("a group");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o004);
        fs::set_permissions(&path, mode).expect("a mode");
    }
    let mut spec = fixture.spec(
        "grep Groups /proc/self/status | busybox tr -d '\\t'; for f in own more others; do cat /$f || echo denied; done 2>/dev/null",
    );
    spec.user = ResolvedUser {
        uid: 1000,
        gid: 1001,
        groups: vec![7, 1001],
    };
    let ran = fixture.run_spec(&spec);
    let text = ran.succeeded();
    let groups = text.lines().next().unwrap_or_default();
    let mut groups: Vec<&str> = groups["Groups:".len()..].split_whitespace().collect();
    groups.sort_unstable();
    assert_eq!(groups, ["1001", "7"], "{text}");
    assert!(text.ends_with("denied\ndenied\nread\n"), "{text}");
}

/// Whether both users and networks of the host can be had.
fn variants(fixture: &Fixture, script: &str) -> Vec<(String, RunSpec)> {
    let rung = fixture.sandbox.host().rung;
    let app = ResolvedUser {
        uid: 1000,
        gid: 1000,
        groups: Vec::new(),
    };
    let own = Users::Own {
        start: 0x20_0000,
        count: 65_536,
    };
    let mut variants = Vec::new();
    for network in [NetworkSpec::None, NetworkSpec::Host] {
        for user in [ResolvedUser::default(), app.clone()] {
            for users in [Users::Host, own] {
                let is_there = match rung {
                    Rung::Root => true,
                    _ => users == Users::Host,
                };
                if is_there {
                    let mut spec = fixture.spec(script);
                    (spec.network, spec.user) = (network, user.clone());
                    spec.confinement.users = users;
                    let name = format!("{network:?}, user {}, {users:?}", user.uid);
                    variants.push((name, spec));
                }
            }
        }
    }
    variants
}

/// What of the host must stay as it is.
#[derive(Debug, PartialEq)]
struct HostState {
    settings: Vec<String>,
    own_groups: usize,
    mounts: usize,
    lower: String,
}

fn host_state(fixture: &Fixture) -> HostState {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/domainname",
        "/proc/sys/net/ipv4/ip_forward",
        "/sys/kernel/uevent_helper",
        "/proc/self/oom_score_adj",
        "/proc/self/cgroup",
        "/proc/self/uid_map",
    ];
    let place = fixture.directory.path().display().to_string();
    let mut list = Command::new("find");
    list.arg(fixture.path("lower"));
    list.args(["-printf", "%P %y %m %U:%G %s %T@ %C@\n"]);
    let lower = list.output().expect("find").stdout;
    HostState {
        settings: files.map(read).into(),
        own_groups: groups(fixture),
        mounts: read("/proc/self/mountinfo").matches(&place).count(),
        lower: String::from_utf8_lossy(&lower).into_owned(),
    }
}

/// Those of this process, whatever others do meanwhile.
fn groups(fixture: &Fixture) -> usize {
    let prefix = &fixture.sandbox.host().control_group_prefix;
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-maxdepth", "6", "-name"]);
    let found = find.arg(format!("{prefix}-test*")).output().expect("find");
    found.stdout.split(|byte| *byte == b'\n').count()
}

fn nothing_gets_out() {
    let fixture = Fixture::new();
    busybox_links(&fixture);
    // The first run starts what stays for all.
    fixture.run("true").succeeded();
    let before = host_state(&fixture);
    for (script, expected) in ATTEMPTS {
        for (name, spec) in variants(&fixture, script) {
            let ran = fixture.run_spec(&spec);
            assert_eq!(ran.stdout, *expected, "{name}: {script}\n{}", ran.stderr);
            assert!(
                matches!(ran.status(), Status::Exited(_)),
                "{name}: {script}"
            );
        }
    }
    assert_eq!(host_state(&fixture), before);
}

fn busybox_links(fixture: &Fixture) {
    let temporary = fixture.path("lower/tmp");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(temporary, mode).expect("a mode");
    fs::create_dir_all(fixture.path("lower/run")).expect("a directory");
    fs::write(fixture.path("lower/run/one"), "").expect("a file");
}

/// What a step did to its root, then what the next one, whose lowest layer that is, must have.
const LEFTOVERS: &[(&str, &str, &str)] = &[
    (
        "ln -s CANARY /etc/resolv.conf.new; mv /etc /e; mkdir /etc; ln -s CANARY /etc/resolv.conf; ln -s ../../../../CANARY /etc/hosts",
        "cat /etc/resolv.conf /etc/hosts",
        "nameserver 192.0.2.1\n127.0.0.1 localhost\n",
    ),
    (
        "mkdir -p /run; ln -s CANARY /run/secrets; ln -s / /mounted",
        "cat /run/secrets/x /mounted/deep/x",
        "secret\nsecret\n",
    ),
    (
        "touch /dev/null2; rm -f /dev/null; ln -s /proc/sys/kernel/core_pattern /dev/null; rm -f /dev/zero; ls -l /dev/null >/dev/full",
        "stat -c %F /dev/null /dev/zero; ls /dev/null2; echo x >/dev/null; head -c1 /proc/keys | wc -c",
        "character special file\ncharacter special file\n0\n",
    ),
    (
        "rm -rf /tmp; ln -s /proc/1 /tmp; ln -s /proc/self/fd /work; rm /bin/pwd",
        "ls /work/ | wc -l | grep -c '^[3-4]$'",
        "1\n",
    ),
];

fn leftovers_do_no_harm() {
    for (first, second, expected) in LEFTOVERS {
        let fixture = Fixture::new();
        let canary = fixture.path("canary");
        fs::create_dir(&canary).expect("a canary");
        fs::write(canary.join("x"), "HOST").expect("a canary");
        let first = first.replace("CANARY", &canary.display().to_string());
        fixture.run(&first);
        fs::rename(fixture.path("upper"), fixture.path("second")).expect("a layer");
        fs::create_dir(fixture.path("upper")).expect("a directory");
        let mut spec = fixture.spec(second);
        let Root::Overlay { lowers, .. } = &mut spec.root else {
            panic!("an overlay");
        };
        lowers.push(fixture.path("second"));
        let file = |target: &str| MountSpec {
            target: target.into(),
            kind: MountKind::File {
                data: b"secret\n".to_vec(),
                mode: 0o444,
            },
        };
        spec.mounts = vec![file("/run/secrets/x"), file("/mounted/deep/x")];
        let ran = fixture.run_spec(&spec);
        assert_eq!(
            ran.stdout, *expected,
            "{first}\n{:?} {}",
            ran.result, ran.stderr
        );
        let left: Vec<_> = fs::read_dir(&canary)
            .expect("the canary")
            .flatten()
            .collect();
        assert_eq!(left.len(), 1, "{first}");
        assert_eq!(fs::read_to_string(canary.join("x")).expect("x"), "HOST");
    }
}

/// Another step could do this in a shared cache mount.
fn racing_links_lead_nowhere() {
    let fixture = Fixture::new();
    let (shared, canary) = (fixture.path("shared"), fixture.path("canary"));
    for directory in [&shared.join("real"), &canary] {
        fs::create_dir_all(directory).expect("a directory");
    }
    fs::write(canary.join("x"), "HOST").expect("a canary");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&shared, &canary, &stop));
        let mut mounted = 0;
        for round in 0..60 {
            let mut spec =
                fixture.spec("cat /c/sub/x /s/x 2>/dev/null; ls /c/sub /s 2>/dev/null; true");
            let bind = |subpath: &str| MountKind::Bind {
                source: shared.clone(),
                subpath: subpath.into(),
                read_only: false,
            };
            let mount = |target: &str, kind| MountSpec {
                target: target.into(),
                kind,
            };
            let deeper = MountKind::Tmpfs { size_bytes: None };
            spec.mounts = match round % 2 {
                0 => vec![mount("/c", bind("")), mount("/c/sub/made", deeper)],
                _ => vec![mount("/s", bind("sub"))],
            };
            let ran = fixture.run_spec(&spec);
            assert!(!ran.stdout.contains("HOST"), "{}", ran.stdout);
            mounted += usize::from(ran.result.is_ok());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        println!("  {mounted} of 60 mounted");
        assert!(mounted > 0);
    });
    let left = fs::read_dir(&canary).expect("the canary").count();
    assert_eq!(left, 1);
}

fn swap(shared: &Path, canary: &Path, stop: &std::sync::atomic::AtomicBool) {
    use std::os::unix::fs::symlink;
    let sub = shared.join("sub");
    let targets = [
        canary.to_owned(),
        "/".into(),
        "../../../../../../..".into(),
        "../canary".into(),
        "/proc/self/root".into(),
        "real".into(),
    ];
    for target in targets.iter().cycle() {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let _ = fs::remove_dir_all(&sub);
        let _ = fs::create_dir(&sub);
        let _ = fs::remove_dir_all(&sub);
        let _ = symlink(target, &sub);
        std::thread::sleep(std::time::Duration::from_micros(300));
        let _ = fs::remove_file(&sub);
    }
}

fn moved_mount_points() {
    let fixture = Fixture::new();
    let canary = fixture.path("canary");
    fs::create_dir_all(canary.join("b")).expect("a canary");
    fs::write(canary.join("stub"), "").expect("a canary");
    // Where a link leads, mount points are made in the root itself.
    std::os::unix::fs::symlink("/real", fixture.path("lower/link")).expect("a link");
    fs::create_dir(fixture.path("lower/real")).expect("a directory");
    let script = format!(
        "mv /real/a /real/moved; ln -s {} /real/a; mkdir -p {}/b; echo x >{}/stub; ls /real",
        canary.display(),
        canary.display(),
        canary.display()
    );
    let mut spec = fixture.spec(&script);
    let file = MountKind::File {
        data: Vec::new(),
        mode: 0o444,
    };
    spec.mounts = vec![
        MountSpec {
            target: "/link/a/stub".into(),
            kind: file,
        },
        MountSpec {
            target: "/link/a/b".into(),
            kind: MountKind::Tmpfs { size_bytes: None },
        },
    ];
    let ran = fixture.run_spec(&spec);
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert!(canary.join("stub").exists() && canary.join("b").exists());
}

/// Compiles a probe into the root; whether there is a compiler.
fn install_escape(fixture: &Fixture) -> bool {
    let source = fixture.path("escape.c");
    fs::write(&source, include_str!("../../../../testdata/probe/escape.c")).expect("the source");
    let mut compiler = Command::new("gcc");
    compiler.args(["-static", "-O1", "-o"]);
    compiler.arg(fixture.path("lower/bin/escape")).arg(&source);
    match compiler.status() {
        Ok(status) => {
            assert!(status.success(), "the probe cannot be compiled");
            true
        }
        Err(error) => {
            println!("  SKIPPED: gcc: {error}");
            false
        }
    }
}

fn changing_roots() {
    let fixture = Fixture::new();
    if !install_escape(&fixture) {
        return;
    }
    let ran = fixture.run("escape chroot; escape handle; escape signal 1");
    // Process 1 is there, but nothing of what it does depends on signals it gets from inside.
    let expected = "ok\nok\ninside\nok\nok\nok\ninside\nok\n";
    assert_eq!(ran.succeeded(), expected);
}

fn abstract_sockets() {
    let fixture = Fixture::new();
    if !install_escape(&fixture) {
        return;
    }
    let name = format!("kiln-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listener = UnixListener::bind_addr(&address).expect("a socket");
    let mut spec = fixture.spec(&format!("escape socket {name}"));
    assert_eq!(fixture.run_spec(&spec).succeeded(), "ECONNREFUSED\n");
    spec.network = NetworkSpec::Host;
    let has_scopes = fixture.sandbox.host().security_modules.landlock >= 6;
    let expected = if has_scopes { "EPERM\n" } else { "ok\n" };
    assert_eq!(fixture.run_spec(&spec).succeeded(), expected);
    spec.confinement.landlock = Landlock::Off;
    assert_eq!(fixture.run_spec(&spec).succeeded(), "ok\n");
}

/// Asked for without a filter, which refuses all calls about keys.
fn keys_are_left() {
    let fixture = Fixture::new();
    if !install_escape(&fixture) {
        return;
    }
    let mut outside = Command::new(fixture.path("lower/bin/escape"));
    let outside = outside.arg("keys").output().expect("the probe").stdout;
    let mut spec = fixture.spec("escape keys; escape keys");
    spec.confinement.system_calls = SystemCalls::Unconfined;
    let ran = fixture.run_spec(&spec);
    let inside: Vec<&str> = ran.succeeded().lines().collect();
    assert_eq!(inside[0], inside[1]);
    let number: i64 = inside[0].parse().expect("a number");
    // Kernels without keys have no number.
    if number > 0 {
        assert_ne!(inside[0], String::from_utf8_lossy(&outside).trim());
    }
}

/// Raising is allowed to all, lowering to few: the test itself cannot lower its own.
fn protection_is_given_up() {
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("a score");
    let ran = Fixture::new().run("cat /proc/self/oom_score_adj /proc/1/oom_score_adj");
    let expected = own.trim().parse::<i32>().expect("a number").max(0);
    assert_eq!(ran.succeeded(), format!("{expected}\n{expected}\n"));
}
