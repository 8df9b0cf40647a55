//! Changes of files: which of them a copy sees.

use super::{Case, Project, check, copy_time};
use kiln_testdata::needs::{self, Need};
use std::fs;
use std::os::unix::fs::symlink;

const NOTHING: &[&str] = &[];
const ALL: &str = "FROM scratch\nCOPY . /all/\n";
const DIRECTORY: &str = "FROM scratch\nCOPY dir /d/\n";
const ONE: &str = "FROM scratch\nCOPY a.txt /d/\n";

#[test]
fn owners_in_the_context_do_not_count() {
    if !needs::met(&[Need::Root]) {
        return;
    }
    let cases: &[Case] = &[
        (
            "owner in the context",
            DIRECTORY,
            |p| p.owner("dir/x.txt", 1234),
            NOTHING,
        ),
        (
            "owner that --chown overrides",
            "FROM scratch\nCOPY --chown=5:6 a.txt /d/\n",
            |p| p.owner("a.txt", 77),
            NOTHING,
        ),
    ];
    check(cases, &[]);
}

#[test]
fn copies_hit_when_nothing_that_they_take_has_changed() {
    let cases: &[Case] = &[
        ("nothing changed", DIRECTORY, |_| (), NOTHING),
        (
            "touched file",
            DIRECTORY,
            |p| touch(p, "dir/x.txt"),
            NOTHING,
        ),
        ("touched directory", DIRECTORY, |p| touch(p, "dir"), NOTHING),
        (
            "file of the future",
            DIRECTORY,
            |p| date(p, "dir/x.txt", FUTURE_SECONDS),
            NOTHING,
        ),
        ("same content written again", DIRECTORY, rewrite, NOTHING),
        (
            "same content in a new file",
            DIRECTORY,
            replace_file,
            NOTHING,
        ),
        (
            "another file changed",
            DIRECTORY,
            |p| p.write("a.txt", "new"),
            NOTHING,
        ),
        (
            "another file appeared",
            ONE,
            |p| p.write("b.txt", "new"),
            NOTHING,
        ),
        ("another name of the file", DIRECTORY, hard_link, NOTHING),
        (
            "mode of the directory that is copied from",
            DIRECTORY,
            |p| p.mode("dir", 0o700),
            NOTHING,
        ),
        (
            "touched link",
            "FROM scratch\nCOPY --parents link /d/\n",
            new_link,
            NOTHING,
        ),
        (
            "excluded file changed",
            "FROM scratch\nCOPY --exclude=*.md dir /d/\n",
            |p| p.write("dir/y.md", "new"),
            NOTHING,
        ),
        (
            "excluded file appeared",
            "FROM scratch\nCOPY --exclude=*.md dir /d/\n",
            |p| p.write("dir/new.md", "new"),
            NOTHING,
        ),
        (
            "mode that --chmod overrides",
            "FROM scratch\nCOPY --chmod=640 a.txt /d/\n",
            |p| p.mode("a.txt", 0o600),
            NOTHING,
        ),
        (
            "modes below a directory that --chmod overrides",
            "FROM scratch\nCOPY --chmod=755 dir /d/\n",
            |p| p.mode("dir/x.txt", 0o600),
            NOTHING,
        ),
    ];
    check(cases, &[]);
}

#[test]
fn copies_miss_when_anything_that_they_take_has_changed() {
    let all: &[&str] = &["COPY"];
    let cases: &[Case] = &[
        ("content", DIRECTORY, |p| p.write("dir/x.txt", "new"), all),
        (
            "content of the same size and time",
            DIRECTORY,
            same_size_and_time,
            all,
        ),
        (
            "content of the same size in a file of the future",
            DIRECTORY,
            |p| {
                date(p, "dir/x.txt", FUTURE_SECONDS);
                same_size_and_time(p);
            },
            all,
        ),
        ("mode", DIRECTORY, |p| p.mode("dir/x.txt", 0o600), all),
        (
            "executable bit",
            DIRECTORY,
            |p| p.mode("dir/x.txt", 0o755),
            all,
        ),
        ("file appeared", DIRECTORY, |p| p.write("dir/new", ""), all),
        ("empty directory appeared", ALL, make_directory, all),
        ("file is gone", DIRECTORY, |p| p.remove("dir/y.md"), all),
        (
            "file has another name",
            DIRECTORY,
            |p| p.rename("dir/x.txt", "dir/z.txt"),
            all,
        ),
        (
            "file moved into a directory",
            ALL,
            |p| p.rename("dir/x.txt", "dir/in/x.txt"),
            all,
        ),
        (
            "mode of a directory below",
            ALL,
            |p| p.mode("dir", 0o700),
            all,
        ),
        ("target of a link", ALL, |p| relink(p, "tool.sh"), all),
        ("link to a file that was one", ALL, file_becomes_link, all),
        ("link became the file", ALL, link_becomes_file, all),
        (
            "file became empty",
            DIRECTORY,
            |p| p.write("dir/x.txt", ""),
            all,
        ),
        ("content swapped between two files", DIRECTORY, swap, all),
        ("ignored file is no longer", ALL, stop_ignoring, all),
        (
            "file is ignored now",
            ALL,
            |p| p.write(".dockerignore", "dir/x.txt\nDockerfile\n"),
            all,
        ),
        (
            "mode that a symbolic --chmod starts from",
            "FROM scratch\nCOPY --chmod=u+x a.txt /d/\n",
            |p| p.mode("a.txt", 0o600),
            all,
        ),
        (
            "mode below another --chown",
            "FROM scratch\nCOPY --chown=1 a.txt /d/\n",
            |p| p.mode("a.txt", 0o600),
            all,
        ),
        (
            "owner in another stage",
            "FROM scratch AS one\nCOPY --chown=1 a.txt /a\nFROM scratch\nCOPY --from=one /a /b\n",
            |p| p.replace("--chown=1", "--chown=2"),
            all,
        ),
        (
            "archive that is unpacked",
            "FROM scratch\nADD a.txt /d/\n",
            |p| p.write("a.txt", "new"),
            &["ADD"],
        ),
    ];
    check(cases, &[]);
}

#[test]
fn normalized_modes_hide_the_umask_of_a_checkout() {
    let cases: &[Case] = &[
        ("stricter umask", ALL, strict_umask, NOTHING),
        (
            "wider umask",
            DIRECTORY,
            |p| p.mode("dir/x.txt", 0o666),
            NOTHING,
        ),
        (
            "executable by one is by all",
            ALL,
            |p| p.mode("tool.sh", 0o700),
            NOTHING,
        ),
        (
            "executable bit counts",
            DIRECTORY,
            |p| p.mode("dir/x.txt", 0o700),
            &["COPY"],
        ),
        ("modes are kept again", ALL, keep_modes, &["COPY"]),
    ];
    check(cases, &["--context-modes=normalize"]);
}

/// A time that no clock shows: 2100.
const FUTURE_SECONDS: u64 = 4_102_444_800;

fn touch(project: &Project, path: &str) {
    date(project, path, 0);
}

fn date(project: &Project, path: &str, seconds: u64) {
    let file = fs::File::open(project.path(path)).expect("the file");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    file.set_modified(time).expect("the time");
}

fn rewrite(project: &mut Project) {
    let text = fs::read_to_string(project.path("dir/x.txt")).expect("the file");
    project.write("dir/x.txt", &text);
}

fn replace_file(project: &mut Project) {
    fs::copy(project.path("dir/x.txt"), project.path("copy")).expect("the copy");
    project.rename("copy", "dir/x.txt");
}

fn hard_link(project: &mut Project) {
    fs::hard_link(project.path("dir/x.txt"), project.path("other-name")).expect("the link");
}

fn new_link(project: &mut Project) {
    relink(project, "a.txt");
}

fn relink(project: &Project, target: &str) {
    project.remove("link");
    symlink(target, project.path("link")).expect("the link");
}

fn same_size_and_time(project: &mut Project) {
    let path = project.path("dir/x.txt");
    let before = fs::metadata(&path).expect("the file");
    let text = fs::read_to_string(&path).expect("the file").to_uppercase();
    project.write("dir/x.txt", &text);
    copy_time(&path, &before);
    let after = fs::metadata(&path).expect("the file");
    assert_eq!(after.len(), before.len());
    assert_eq!(after.modified().ok(), before.modified().ok());
}

fn make_directory(project: &mut Project) {
    fs::create_dir(project.path("empty")).expect("the directory");
}

fn file_becomes_link(project: &mut Project) {
    project.rename("dir/x.txt", "dir/real");
    symlink("real", project.path("dir/x.txt")).expect("the link");
}

fn link_becomes_file(project: &mut Project) {
    let text = fs::read_to_string(project.path("link")).expect("the file");
    project.remove("link");
    project.write("link", &text);
}

fn swap(project: &mut Project) {
    project.rename("dir/x.txt", "other");
    project.rename("dir/y.md", "dir/x.txt");
    project.rename("other", "dir/y.md");
}

fn stop_ignoring(project: &mut Project) {
    project.write("Dockerfile.dockerignore", "Dockerfile*\n");
}

fn strict_umask(project: &mut Project) {
    project.mode("dir/x.txt", 0o600);
    project.mode("dir", 0o700);
    project.mode("tool.sh", 0o711);
}

fn keep_modes(project: &mut Project) {
    project.mode("dir/x.txt", 0o600);
    project.arguments.clear();
}
