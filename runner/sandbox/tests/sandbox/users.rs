//! Users of the command's own on a host where it is root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_sandbox::runspec::{
    MountKind, MountSpec, NetworkSpec, OverlayScratch, ResolvedUser, RunSpec, SecretData, Users,
};

use kiln_sandbox::{Cancellation, SandboxError};

use crate::Case;
use crate::fixture::Fixture;

pub const CASES: &[Case] = &[
    (
        "root_inside_is_nobody_outside",
        root_inside_is_nobody_outside,
    ),
    (
        "own_users_leave_layers_with_the_numbers_they_see",
        layers_have_the_numbers_inside,
    ),
    (
        "own_users_see_mounts_with_right_owners",
        mounts_have_right_owners,
    ),
    ("own_users_of_other_numbers_run_commands", other_users_run),
    ("runs_of_own_users_can_be_cancelled", runs_can_be_cancelled),
    (
        "own_users_work_on_the_network_of_the_host",
        on_the_hosts_network,
    ),
];

const START: u32 = 0x10_0000;

fn with_users(fixture: &Fixture, script: &str) -> RunSpec {
    let mut spec = fixture.spec(script);
    spec.confinement.users = Users::Own {
        start: START,
        count: 65_536,
    };
    spec
}

fn root_inside_is_nobody_outside() {
    let fixture = Fixture::new();
    let script = "id -u; cat /proc/self/uid_map; mknod /tmp/null c 1 3 2>/dev/null || echo no
        grep -E 'Cap(Eff|Bnd|Inh|Amb)|Seccomp:' /proc/self/status; mount -t tmpfs x /tmp 2>/dev/null || echo no
        echo 1 >/proc/sys/vm/drop_caches 2>/dev/null || echo no; echo x >/dev/null; echo y >/dev/stdout
        ls /sys/class/net; hostname; stat -c %u /bin/sh";
    let ran = fixture.run_spec(&with_users(&fixture, script));
    let expected = format!(
        "0\n         0 {START:>10}      65536\nno\n\
         CapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n\
         CapAmb:\t0000000000000000\nSeccomp:\t2\nno\nno\ny\nlo\nbuildkitsandbox\n0\n"
    );
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
}

fn layers_have_the_numbers_inside() {
    let fixture = Fixture::new();
    fs::write(fixture.path("lower/etc/shared"), "below").expect("a file");
    chown(fixture.path("lower/etc/shared"), Some(7), Some(8)).expect("an owner");
    let script = "stat -c '%u %g' /etc/shared /etc/passwd; busybox chown 1000:1001 /etc/passwd
        echo more >>/etc/shared; mkdir /made; echo x >/made/file; busybox chown 33:34 /made/file
        rm -r /root; mkdir /root; rm /bin/yes; mv /etc /moved; ln -s a /link";
    let ran = fixture.run_spec(&with_users(&fixture, script));
    assert_eq!(ran.succeeded(), "7 8\n0 0\n", "{}", ran.stderr);
    let owner = |name: &str| {
        let metadata = fs::symlink_metadata(fixture.path("upper").join(name)).expect(name);
        (metadata.uid(), metadata.gid())
    };
    let table = [
        ("moved/shared", (7, 8)),
        ("moved/passwd", (1000, 1001)),
        ("made", (0, 0)),
        ("made/file", (33, 34)),
        ("root", (0, 0)),
        ("link", (0, 0)),
    ];
    for (name, expected) in table {
        assert_eq!(owner(name), expected, "{name}");
    }
    let removed = fs::symlink_metadata(fixture.path("upper/bin/yes")).expect("a whiteout");
    assert_eq!(removed.rdev(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(&fixture.directory.path().display().to_string()));
}

fn mounts_have_right_owners() {
    let fixture = Fixture::new();
    for name in ["context/sub", "cache", "scratch/upper", "scratch/work"] {
        fs::create_dir_all(fixture.path(name)).expect("a directory");
    }
    fs::write(fixture.path("context/sub/file"), "context\n").expect("a file");
    chown(fixture.path("context/sub/file"), Some(5), Some(6)).expect("an owner");
    let mut spec = with_users(
        &fixture,
        "stat -c '%u %g' /context/file /secret; echo kept >/cache/x; busybox chown 9:9 /cache/x
        echo gone >/context/file; cat /secret; cat /etc/hosts; df() { :; }; ls -d /tmpfs",
    );
    let secret = MountKind::SecretFile {
        data: SecretData(b"hidden\n".to_vec()),
        mode: 0o400,
        uid: 12,
        gid: 13,
    };
    let context = MountKind::Overlay {
        lowers: vec![fixture.path("context")],
        subpath: "sub".into(),
        scratch: Some(OverlayScratch {
            upper: fixture.path("scratch/upper"),
            work: fixture.path("scratch/work"),
        }),
    };
    let cache = MountKind::Bind {
        source: fixture.path("cache"),
        subpath: String::new(),
        read_only: false,
    };
    let tmpfs = MountKind::Tmpfs { size_bytes: None };
    let all = [
        ("/secret", secret),
        ("/context", context),
        ("/cache", cache),
        ("/tmpfs", tmpfs),
    ];
    spec.mounts = all
        .map(|(target, kind)| MountSpec {
            target: target.into(),
            kind,
        })
        .into();
    let ran = fixture.run_spec(&spec);
    let expected = "5 6\n12 13\nhidden\n127.0.0.1 localhost\n/tmpfs\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    let cached = fs::metadata(fixture.path("cache/x")).expect("a file");
    assert_eq!((cached.uid(), cached.gid()), (9, 9));
    let context = fs::read_to_string(fixture.path("context/sub/file")).expect("a file");
    assert_eq!(context, "context\n");
    assert_eq!(fixture.changes(), Vec::<String>::new());
}

fn other_users_run() {
    let fixture = Fixture::new();
    let script =
        "id -u; id -G; echo x >/dev/stdout; pwd; touch file; ls -ln /proc/self/fd/1 >/dev/null
        busybox chown 5 file 2>/dev/null || echo no; echo x >/etc/passwd 2>/dev/null || echo no";
    let mut spec = with_users(&fixture, script);
    spec.user = ResolvedUser {
        uid: 1000,
        gid: 1001,
        groups: vec![7],
    };
    spec.working_directory = "/work/place".into();
    let ran = fixture.run_spec(&spec);
    let expected = "1000\n1001 7\nx\n/work/place\nno\nno\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    let made = fs::metadata(fixture.path("upper/work/place/file")).expect("a file");
    assert_eq!((made.uid(), made.gid()), (1000, 1001));
    // One who does not exist there.
    spec.user.uid = 70_000;
    assert!(fixture.run_spec(&spec).result.is_err());
}

fn on_the_hosts_network() {
    let fixture = Fixture::new();
    let mut spec = with_users(
        &fixture,
        "ls /sys/class/net | wc -l; touch /sys/x 2>/dev/null || echo no",
    );
    spec.network = NetworkSpec::Host;
    let ran = fixture.run_spec(&spec);
    let count = fs::read_dir("/sys/class/net").map_or(0, |all| all.count());
    assert_eq!(ran.succeeded(), format!("{count}\nno\n"), "{}", ran.stderr);
    assert!(Path::new("/proc/self").exists());
}

fn runs_can_be_cancelled() {
    let fixture = Fixture::new();
    let mark = format!("71{}", std::process::id());
    let spec = with_users(&fixture, &format!("setsid sleep {mark} & sleep {mark}"));
    let cancellation = Cancellation::new().expect("a cancellation");
    let begun = Instant::now();
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            cancellation.cancel();
        });
        fixture.run_cancellable(&spec, &cancellation)
    });
    assert!(matches!(ran.result, Err(SandboxError::Cancelled)));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let arguments = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let sleeping = format!("sleep\0{mark}\0");
    assert!(
        !arguments
            .into_iter()
            .any(|bytes| bytes == sleeping.as_bytes())
    );
}
