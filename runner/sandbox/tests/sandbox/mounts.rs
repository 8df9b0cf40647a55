//! What a command sees, and what stays in the layer.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use kiln_sandbox::SandboxError;
use kiln_sandbox::runspec::{MountKind, MountSpec, OverlayScratch, Root, SecretData};

use crate::Case;
use crate::fixture::Fixture;

pub const CASES: &[Case] = &[
    (
        "standard_mounts_leave_no_trace",
        standard_mounts_leave_no_trace,
    ),
    (
        "changes_land_in_the_upper_directory",
        changes_land_in_the_upper_directory,
    ),
    (
        "mount_kinds_show_their_content",
        mount_kinds_show_their_content,
    ),
    (
        "mount_of_no_layers_is_an_empty_directory",
        mount_of_no_layers,
    ),
    (
        "mount_points_in_the_image_are_removed_again",
        made_mount_points_are_removed,
    ),
    (
        "links_at_mount_points_stay_inside_the_root",
        links_stay_inside,
    ),
    (
        "kernel_directories_may_not_be_links",
        kernel_directories_may_not_be_links,
    ),
    ("hundreds_of_layers_fit", hundreds_of_layers_fit),
    (
        "more_layers_than_the_kernel_stacks_are_told",
        more_layers_than_the_kernel_stacks_are_told,
    ),
    (
        "nothing_is_mounted_on_the_host_afterwards",
        nothing_is_mounted_on_the_host,
    ),
];

fn standard_mounts_leave_no_trace() {
    let fixture = Fixture::new();
    let ran = fixture.run("cat /etc/hosts; ls -d /proc/self /dev/pts/ptmx /sys/kernel /dev/shm");
    assert!(
        ran.succeeded().starts_with("127.0.0.1 localhost\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(fixture.changes(), Vec::<String>::new());
}

fn changes_land_in_the_upper_directory() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("echo x >file; rm /etc/passwd; ln -s /etc/hosts link");
    spec.working_directory = "/new/place".into();
    spec.user.uid = 0;
    fixture.run_spec(&spec).succeeded();
    let changes = [
        "/etc",
        "/etc/passwd",
        "/new",
        "/new/place",
        "/new/place/file",
        "/new/place/link",
    ];
    assert_eq!(fixture.changes(), changes);
}

fn mount(target: &str, kind: MountKind) -> MountSpec {
    MountSpec {
        target: target.into(),
        kind,
    }
}

fn all_kinds(fixture: &Fixture) -> Vec<MountSpec> {
    for name in ["context/sub", "cache", "scratch-upper", "scratch-work"] {
        fs::create_dir_all(fixture.path(name)).expect("a directory");
    }
    fs::write(fixture.path("context/sub/file"), "context\n").expect("a file");
    let scratch = OverlayScratch {
        upper: fixture.path("scratch-upper"),
        work: fixture.path("scratch-work"),
    };
    let overlay = |subpath: &str, scratch| MountKind::Overlay {
        lowers: vec![fixture.path("context")],
        subpath: subpath.into(),
        scratch,
    };
    let bind = |source: &str, read_only| MountKind::Bind {
        source: fixture.path(source),
        subpath: String::new(),
        read_only,
    };
    vec![
        mount("/cache", bind("cache", false)),
        mount("/ro", bind("context", true)),
        mount("/rw/deep", overlay("", Some(scratch))),
        mount("/part", overlay("sub", None)),
        mount(
            "/tmpfs",
            MountKind::Tmpfs {
                size_bytes: Some(4096),
            },
        ),
        mount(
            "/run/secrets/token",
            MountKind::SecretFile {
                data: SecretData(b"hidden".to_vec()),
                mode: 0o400,
                uid: 12,
                gid: 13,
            },
        ),
        mount(
            "/script",
            MountKind::File {
                data: b"#!/bin/sh\necho ran\n".to_vec(),
                mode: 0o555,
            },
        ),
    ]
}

fn mount_kinds_show_their_content() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec(
        "echo kept >/cache/x; echo x >/ro/x || echo refused; cat /rw/deep/sub/file; rm -r /rw/deep/sub
        echo y >/rw/deep/y; cat /part/file; touch /part/z || echo refused
        dd if=/dev/zero of=/tmpfs/big bs=8k count=1 || echo full; cat /run/secrets/token
        stat -c ' %a %u %g' /run/secrets/token; /script",
    );
    spec.mounts = all_kinds(&fixture);
    let ran = fixture.run_spec(&spec);
    let expected = "refused\ncontext\ncontext\nrefused\nfull\nhidden 400 12 13\nran\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    assert_eq!(
        fs::read_to_string(fixture.path("cache/x")).expect("x"),
        "kept\n"
    );
    assert!(fixture.path("context/sub/file").exists());
    assert!(!fixture.path("context/y").exists());
    assert_eq!(fixture.changes(), Vec::<String>::new());
}

fn mount_of_no_layers() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("ls /empty; touch /empty/x 2>/dev/null || echo refused");
    let nothing = MountKind::Overlay {
        lowers: Vec::new(),
        subpath: String::new(),
        scratch: None,
    };
    spec.mounts = vec![mount("/empty", nothing)];
    spec.cgroup_name = "n".repeat(200);
    spec.limits.pids = Some(50);
    assert_eq!(fixture.run_spec(&spec).succeeded(), "refused\n");
}

fn made_mount_points_are_removed() {
    let fixture = Fixture::new();
    // A link in the image: the mount point has to be made where it leads.
    symlink("/real/place", fixture.path("lower/link")).expect("a link");
    fs::create_dir_all(fixture.path("lower/real/place")).expect("a directory");
    let mut spec = fixture.spec("cat /real/place/a/b; ls /real/place");
    let file = MountKind::File {
        data: b"inside\n".to_vec(),
        mode: 0o444,
    };
    spec.mounts = vec![mount("/link/a/b", file)];
    assert_eq!(fixture.run_spec(&spec).succeeded(), "inside\na\n");
    assert!(
        !fixture.path("upper/real/place/a").exists(),
        "{:?}",
        fixture.changes()
    );
    let times = |name: &str| {
        fs::metadata(fixture.path(name))
            .expect("metadata")
            .mtime_nsec()
    };
    assert_eq!(times("upper/real/place"), times("lower/real/place"));
}

fn links_stay_inside() {
    let fixture = Fixture::new();
    let canary = fixture.path("canary");
    fs::write(&canary, "HOST").expect("a canary");
    symlink(&canary, fixture.path("lower/etc/resolv.conf")).expect("a link");
    symlink("../../../../../../etc", fixture.path("lower/out")).expect("a link");
    let mut spec = fixture.spec("cat /etc/resolv.conf; cat /etc/made");
    spec.mounts = vec![mount(
        "/out/made",
        MountKind::File {
            data: b"made\n".to_vec(),
            mode: 0o444,
        },
    )];
    let ran = fixture.run_spec(&spec);
    assert_eq!(ran.succeeded(), "nameserver 192.0.2.1\nmade\n");
    assert_eq!(fs::read_to_string(&canary).expect("the canary"), "HOST");
    assert!(!Path::new("/etc/made").exists());
}

fn kernel_directories_may_not_be_links() {
    for name in ["proc", "dev", "sys"] {
        let fixture = Fixture::new();
        symlink("/tmp", fixture.path("lower").join(name)).expect("a link");
        match fixture.run("true").result {
            Err(SandboxError::Setup(failure)) => {
                assert!(failure.action.contains(&format!("on /{name}")), "{failure}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn hundreds_of_layers_fit() {
    let fixture = Fixture::new();
    let mut spec =
        fixture.spec("ls /layers | wc -l; cat /same; rm /layers/0; echo new > /layers/1");
    let Root::Overlay { lowers, .. } = &mut spec.root else {
        panic!("an overlay was asked for");
    };
    // More than one overlay takes.
    for number in 0..520 {
        let name = format!("a-long-name-of-a-layer-directory-as-digests-are-{number:0>64}");
        let layer = fixture.path(&name);
        fs::create_dir_all(layer.join("layers")).expect("a layer");
        fs::write(layer.join(format!("layers/{number}")), "").expect("a file");
        fs::write(layer.join("same"), format!("{number}\n")).expect("a file");
        lowers.push(layer);
    }
    assert_eq!(fixture.run_spec(&spec).succeeded(), "520\n519\n");
    let changed = fixture.path("upper/layers");
    assert_eq!(
        fs::read_to_string(changed.join("1")).expect("a file"),
        "new\n"
    );
    let mut names: Vec<_> = fs::read_dir(changed)
        .expect("what was changed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["0", "1"]);
}

fn more_layers_than_the_kernel_stacks_are_told() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("true");
    let Root::Overlay { lowers, .. } = &mut spec.root else {
        panic!("an overlay was asked for");
    };
    let layer = lowers[0].clone();
    lowers.resize(999, layer);
    match fixture.run_spec(&spec).result {
        Err(SandboxError::Setup(failure)) => {
            let told = "stack 999 layers, of which the kernel takes 998";
            assert_eq!(failure.action, told, "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

fn nothing_is_mounted_on_the_host() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("true");
    spec.mounts = all_kinds(&fixture);
    fixture.run_spec(&spec).succeeded();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let place = fixture.directory.path().display().to_string();
    assert!(!mounts.contains(&place), "{mounts}");
}
