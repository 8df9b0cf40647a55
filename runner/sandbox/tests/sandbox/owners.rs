//! Owners and devices where the kernel knows no ids but one, and processes that are others by
//! name only.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kiln_sandbox::runspec::{ResolvedUser, Rung};

use crate::Case;
use crate::fixture::Fixture;

/// What holds in user namespaces.
pub const IN_USER_NAMESPACES: &[Case] = &[("devices_are_noted", devices_are_noted)];

/// What holds where there is one id.
pub const WITH_ONE_ID: &[Case] = &[
    ("owners_are_noted_and_told", owners_are_noted_and_told),
    (
        "paths_lead_where_the_asker_would_go",
        paths_lead_where_the_asker_would_go,
    ),
    ("links_and_pipes_have_owners", links_and_pipes_have_owners),
    (
        "what_is_new_belongs_to_the_group_of_its_directory",
        what_is_new_belongs_to_the_group_of_its_directory,
    ),
    ("processes_become_others", processes_become_others),
    ("files_of_others_are_theirs", files_of_others_are_theirs),
    ("commands_begin_as_their_user", commands_begin_as_their_user),
    (
        "nothing_of_process_1_is_reached",
        nothing_of_process_1_is_reached,
    ),
    (
        "askers_may_be_killed_and_paths_may_change",
        askers_may_be_killed,
    ),
    (
        "unfiltered_commands_have_owners_too",
        unfiltered_commands_have_owners_too,
    ),
];

/// Runs those of the cases that are meant for the rung.
pub fn run() {
    let with_one = Fixture::new().sandbox.host().rung == Rung::SingleId;
    let all = IN_USER_NAMESPACES.iter();
    for (name, case) in all.chain(WITH_ONE_ID.iter().filter(|_| with_one)) {
        println!("  {name}");
        case();
    }
}

/// Returns what is noted beside a file of the layer; nothing if there is no note.
fn noted(fixture: &Fixture, path: &str) -> String {
    let mut value = [0; 64];
    let path = fixture.path("upper").join(path);
    let length = rustix::fs::lgetxattr(&path, "user.kiln.file", &mut value);
    String::from_utf8_lossy(&value[..length.unwrap_or(0)]).into_owned()
}

fn devices_are_noted() {
    let fixture = Fixture::new();
    let ran = fixture.run(
        "mkdir /d; umask 077; mknod /d/disk b 8 17; mknod -m 640 /d/null c 1 3; mknod /d/pipe p
        mknod /d/null c 1 3 2>/dev/null || echo there; mknod /d/none c 0 0 2>/dev/null || echo no
        mknod /no/null c 1 3 2>/dev/null || echo nowhere; echo x >/d/text",
    );
    assert_eq!(ran.succeeded(), "there\nno\nnowhere\n", "{}", ran.stderr);
    let found = ["d/disk", "d/null", "d/text"].map(|path| {
        let mode = fixture
            .path("upper")
            .join(path)
            .metadata()
            .expect("a file")
            .mode();
        (mode & 0o7777, noted(&fixture, path))
    });
    let expected = [(0o600, "0:0 b 8:17"), (0o640, "0:0 c 1:3"), (0o600, "")];
    assert_eq!(found, expected.map(|(mode, note)| (mode, note.to_owned())));
}

fn owners_are_noted_and_told() {
    let fixture = Fixture::new();
    let ran = fixture.run(
        "mkdir /d /d/e; cd /d; touch a b c; chown 1000:42 a; chown 7 b; chown :8 b; chgrp 9 /d/e
        chmod 4755 c; chown 3:4 c; stat -c '%n %u:%g %a' a b c e; ln -s a link; chown 5:6 link
        chown -h 5:6 link; stat -c %u:%g a; chown 0:0 a; stat -c %u:%g a; chown -R 11:12 /d
        find /d -user 11 | wc -l; chown 1:1 /nothing 2>&1
        mknod /d/null c 1 3; stat -c '%F %t:%T' /d/null; test -c /d/null && echo device",
    );
    let expected = "a 1000:42 644\nb 7:8 644\nc 3:4 755\ne 0:9 755\n5:6\n0:0\n6\n\
        chown: /nothing: No such file or directory\n\
        character special file 1:3\ndevice\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    let notes = ["d", "d/a", "d/e", "d/null"].map(|path| noted(&fixture, path));
    assert_eq!(notes, ["11:12", "11:12", "11:12", "0:0 c 1:3"]);
}

/// By descriptor, by directory, below another root, through links.
fn paths_lead_where_the_asker_would_go() {
    let fixture = Fixture::new();
    let ran = fixture.run(
        "mkdir -p /jail/bin /jail/etc /etc/deep; cp /bin/busybox /jail/bin/; touch /jail/file /file
        ln -s /file /jail/link; ln -s ../file /jail/etc/up
        busybox chroot /jail /bin/busybox chown 5:5 /link
        busybox chroot /jail /bin/busybox sh -c 'cd /etc; busybox chown 6:6 up; cd /; busybox chown :7 file'
        cd /etc/deep; chown 8:8 ../../file; stat -c %u:%g /file /jail/file
        cd /jail; busybox chroot /jail /bin/busybox stat -c %u:%g /link; stat -Lc %u:%g link",
    );
    assert_eq!(ran.succeeded(), "8:8\n6:7\n0:0\n8:8\n", "{}", ran.stderr);
}

/// Their owners stay theirs when they move, and are copied up with them.
fn links_and_pipes_have_owners() {
    let fixture = Fixture::new();
    std::os::unix::fs::symlink("nowhere", fixture.path("lower/old")).expect("a link");
    let ran = fixture.run(
        "mkdir /d; cd /d; ln -s a link; mkfifo -m 640 pipe; mv link moved; stat -c '%u:%g %a' moved pipe
        chown -h 5:6 moved; chown 7 pipe; chown -h 8:9 /old; mv moved link; mv pipe other
        stat -c '%n %u:%g %a' link other /old; chown -h :7 link; ln link twice; stat -c %u:%g twice
        chown -h 0:0 link; stat -c %u:%g twice; chown -hR 3:4 /d; stat -c %u:%g twice; readlink link",
    );
    assert_eq!(
        ran.succeeded(),
        "0:0 777\n0:0 640\nlink 5:6 777\nother 7:0 640\n/old 8:9 777\n5:7\n0:0\n3:4\na\n",
        "{}",
        ran.stderr
    );
    let mut spec = fixture.spec(
        "cd /tmp; umask 0; ln -s a link; mkfifo -m 604 pipe; ln -s x link 2>/dev/null || echo there
        ln -s a /nowhere/link 2>/dev/null || echo nowhere; stat -c '%n %u:%g %a' link pipe",
    );
    spec.user = ResolvedUser {
        uid: 1000,
        gid: 42,
        groups: Vec::new(),
    };
    let ran = fixture.run_spec(&spec);
    let expected = "there\nnowhere\nlink 1000:42 777\npipe 1000:42 604\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
}

fn what_is_new_belongs_to_the_group_of_its_directory() {
    let fixture = Fixture::new();
    let ran = fixture.run(
        "mkdir /d; chown :50 /d; chmod 2775 /d; cd /d; echo x >file; mkdir e; echo x >e/file
        ln -s a link; mkfifo pipe; mknod null c 1 3; cp /etc/passwd copy
        stat -c '%n %u:%g' file e e/file link pipe null copy; stat -c %a e",
    );
    let names = ["file", "e", "e/file", "link", "pipe", "null", "copy"];
    let expected: String = names.iter().map(|name| format!("{name} 0:50\n")).collect();
    assert_eq!(ran.succeeded(), expected + "2755\n", "{}", ran.stderr);
}

fn processes_become_others() {
    let fixture = Fixture::new();
    std::fs::write(
        fixture.path("lower/etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nann:x:1000:42::/:/bin/sh\n",
    )
    .expect("accounts");
    std::fs::write(
        fixture.path("lower/etc/group"),
        "root:x:0:\nown:x:42:\nmore:x:77:ann\n",
    )
    .expect("groups");
    let ran = fixture.run(
        "id; cp /bin/busybox /bin/setter; chmod 4755 /bin/setter; touch /mine; chown 1000 /mine
        busybox su ann -c 'id; (id -u); busybox su root -c id; chown 5 /mine 2>/dev/null || echo no
            chgrp 77 /mine && stat -c %u:%g /mine; /bin/setter id -u; /bin/setter id -ru'
        id -u",
    );
    let expected = "uid=0(root) gid=0(root) groups=0(root)\n\
        uid=1000(ann) gid=42(own) groups=42(own),77(more)\n1000\n";
    assert!(
        ran.stdout.starts_with(expected),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert!(
        ran.stdout.contains("no\n1000:77\n"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert!(ran.stdout.ends_with("0\n"), "{}", ran.stdout);
}

fn files_of_others_are_theirs() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec(
        "umask 027; mkdir /d /d/e; echo x >/d/a; echo y >>/d/a; cat /d/a; set -C; echo z >/d/b
        (echo z >/d/b) 2>/dev/null || echo there; touch /d/c; cp /d/c /d/e/; stat -c '%u:%g %a' /d/a /d/e
        echo more >>/etc/passwd; stat -c %u /etc/passwd; ln -s a /d/link",
    );
    spec.user = ResolvedUser {
        uid: 1000,
        gid: 42,
        groups: vec![77],
    };
    let ran = fixture.run_spec(&spec);
    assert_eq!(
        ran.succeeded(),
        "x\ny\nthere\n1000:42 640\n1000:42 750\n0\n",
        "{}",
        ran.stderr
    );
    for path in ["d", "d/a", "d/b", "d/c", "d/e", "d/e/c"] {
        assert_eq!(noted(&fixture, path), "1000:42", "{path}");
    }
    assert_eq!(noted(&fixture, "etc/passwd"), "");
    let mode = fixture
        .path("upper/d/a")
        .metadata()
        .expect("a file")
        .permissions();
    assert_eq!(mode.mode() & 0o7777, 0o640);
}

fn commands_begin_as_their_user() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec(
        "id -u; id -g; id -G; pwd; stat -c %u:%g .
        mknod /null c 1 3 2>/dev/null || echo no; chown 5 / 2>/dev/null || echo no",
    );
    spec.user = ResolvedUser {
        uid: 1000,
        gid: 42,
        groups: vec![77],
    };
    spec.working_directory = "/home/ann".into();
    let ran = fixture.run_spec(&spec);
    let expected = "1000\n42\n42 77\n/home/ann\n1000:42\nno\nno\n";
    assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    assert_eq!(noted(&fixture, "home/ann"), "1000:42");
}

/// What answers has rights that who asks has not: they must be of no use.
fn nothing_of_process_1_is_reached() {
    let fixture = Fixture::new();
    let canary = fixture.path("canary");
    std::fs::write(&canary, "untouched").expect("a canary");
    let ran = fixture.run(
        "for what in /proc/1/exe /proc/1/cwd /proc/1/root /proc/1/fd/3 /proc/1/fd/4 /proc/1/fd/0; do
            chown 7:7 $what 2>/dev/null && echo $what; done
        chown 7:7 /sys/kernel 2>/dev/null && echo sys
        chown 7:7 /etc/hosts 2>/dev/null && echo hosts
        ln -s /proc/1/root/etc /outside; chown 7:7 /outside/passwd 2>/dev/null && echo outside
        mknod /proc/1/null c 1 3 2>/dev/null && echo made; mknod /sys/null c 1 3 2>/dev/null && echo made
        stat -c %u / /etc/hosts /proc/1/exe 2>/dev/null | head -2; busybox prlimit 2>/dev/null; true",
    );
    assert_eq!(ran.succeeded(), "0\n0\n", "{}", ran.stderr);
    let found = canary.metadata().expect("the canary");
    assert_eq!(
        found.uid(),
        Path::new("/proc/self").metadata().expect("itself").uid()
    );
}

/// Many ask at once, of a path that is now a link to a read-only mount, now a file, and die
/// while they wait.
fn askers_may_be_killed() {
    let fixture = Fixture::new();
    let ran = fixture.run(
        "mkdir /d; for i in 1 2 3 4 5 6 7 8 9; do echo x >/d/f$i; done
        (while :; do ln -sf /etc/hosts /d/swap; rm -f /d/swap; echo x >/d/swap; rm -f /d/swap; done) & swap=$!
        for i in 1 2 3 4; do (while :; do chown -R 7:8 /d; chown 5:6 /d/swap; done 2>/dev/null) & all=\"$all $!\"; done
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            (chown -R 9:9 /d) & busybox usleep 3000; kill -9 $! 2>/dev/null; done
        kill -9 -1; stat -c %u:%g /etc/hosts; chown 1:2 /d/f1; stat -c %u:%g /d/f1",
    );
    assert_eq!(ran.succeeded(), "0:0\n1:2\n", "{}", ran.stderr);
}

fn unfiltered_commands_have_owners_too() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("touch /a; chown 7:8 /a; stat -c %u:%g /a; id -u");
    spec.confinement.system_calls = kiln_sandbox::runspec::SystemCalls::Unconfined;
    assert_eq!(fixture.run_spec(&spec).succeeded(), "7:8\n0\n");
    spec.security = kiln_sandbox::runspec::SecurityMode::Insecure;
    assert_eq!(fixture.run_spec(&spec).succeeded(), "7:8\n0\n");
}
