//! A store on overlayfs, which carries no other overlay's changes: steps run in copies of their
//! layers, and images are those that they are elsewhere.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testdata::command::stdout_of;
use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, Ran, binary};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("busybox"),
    Need::Program("setpriv"),
];

/// Nobody's, so without subordinate IDs.
pub const USER: u32 = 64_321;

const DOCKERFILE: &str = "\
FROM scratch AS first
COPY busybox /bin/busybox
COPY tree /tree
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
RUN rm -r /tree/deep /tree/one && mkdir /tree/deep && echo new >/tree/deep/new \\
    && ln /tree/two /tree/hard && ln -s two /tree/link && mkfifo /tree/pipe && chmod 4711 /tree/two
RUN --mount=type=cache,target=/cache echo kept >/cache/file
RUN --mount=type=cache,target=/cache --mount=type=bind,target=/context \\
    --mount=type=bind,target=/writable,rw --mount=type=tmpfs,target=/memory/deep \\
    --mount=type=secret,id=word \\
    test $(cat /cache/file) = kept && test ! -e /tree/one && test ! -e /tree/deep/old \\
    && ! touch /context/file && touch /writable/file && test $(cat /run/secrets/word) = hidden \\
    && touch /memory/deep/file && test -e /proc/self/status && test $$ -lt 9 && touch /tree/done
RUN test ! -e /cache && test ! -e /context && test ! -e /memory && rm /tree/done
FROM first
RUN rm -r /tree/deep
";

/// The test's files in a file system of their own; unmounted when dropped.
struct OverlayFileSystem {
    kiln: Kiln,
}

impl OverlayFileSystem {
    fn mount() -> Self {
        let kiln = Kiln::new();
        for name in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(kiln.path(name)).expect("a directory");
        }
        let directory = |name: &str| kiln.path(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            directory("lower"),
            directory("upper"),
            directory("work")
        );
        stdout_of(
            Command::new("mount")
                .args(["-t", "overlay", "overlay", "-o", &options])
                .arg(kiln.path("merged")),
        );
        Self { kiln }
    }

    fn store(&self) -> PathBuf {
        self.kiln.path("merged/store")
    }
}

impl Drop for OverlayFileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.kiln.path("merged"))
            .status();
    }
}

fn write_context(kiln: &Kiln) {
    let context = kiln.context(DOCKERFILE);
    std::fs::create_dir_all(context.join("tree/deep")).expect("directories");
    std::fs::copy("/bin/busybox", context.join("busybox")).expect("busybox");
    for name in ["one", "two", "deep/old"] {
        std::fs::write(context.join("tree").join(name), name).expect("a file");
    }
    std::fs::write(kiln.path("word"), "hidden").expect("a secret");
}

/// Gives `user` the test's directory and home, and a copy of the binary.
pub fn admit(kiln: &Kiln, user: u32) {
    let copy = kiln.path("kiln");
    std::fs::copy(binary(), &copy).expect("a copy of the binary");
    for path in [copy, kiln.path("")] {
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, open).expect("a mode");
    }
    for name in ["", "home"] {
        chown(kiln.path(name), Some(user), Some(user)).expect("an owner");
    }
}

/// Runs kiln with the store at `root`, as root or as a user who was admitted.
pub fn run(kiln: &Kiln, root: &Path, user: Option<u32>, arguments: &[&str]) -> Ran {
    let mut command = match user {
        None => kiln.command(),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .args([&format!("--reuid={user}"), &format!("--regid={user}")])
                .arg("--clear-groups")
                .arg(kiln.path("kiln"))
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("HOME", kiln.path("home"));
            command
        }
    };
    command
        .env("KILN_ROOT", root)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .args(arguments)
        .current_dir(kiln.path("context"));
    Ran::from(command)
}

fn build(kiln: &Kiln, root: &Path, user: Option<u32>, archive: &str) -> Ran {
    let secret = format!("id=word,src={}", kiln.path("word").display());
    let output = format!("type=tar,dest={}", kiln.path(archive).display());
    let arguments = [
        "build",
        "--progress=plain",
        "--tag=app",
        "--secret",
        &secret,
        "--output",
        &output,
        ".",
    ];
    run(kiln, root, user, &arguments).succeeded()
}

/// Builds in a store on an ordinary file system and in one on an overlay.
fn the_same_on_both(file_system: &OverlayFileSystem, user: Option<u32>) {
    let kiln = &file_system.kiln;
    write_context(kiln);
    if let Some(user) = user {
        admit(kiln, user);
        for name in ["merged", "word"] {
            chown(kiln.path(name), Some(user), Some(user)).expect("an owner");
        }
    }
    let (usual, store) = (kiln.path("usual"), file_system.store());
    build(kiln, &usual, user, "usual.tar");
    build(kiln, &store, user, "overlay.tar");
    let read = |name: &str| std::fs::read(kiln.path(name)).expect("the archive");
    assert!(read("usual.tar") == read("overlay.tar"), "other files");
    let again = build(kiln, &store, user, "again.tar");
    assert_eq!(again.executed_steps(), 0, "{}", again.description());
    run(kiln, &store, user, &["store", "verify"]).succeeded();
    let told = run(kiln, &store, user, &["info"]).succeeded().stdout;
    assert!(told.contains("copied for each branch"), "{told}");
    let told = run(kiln, &usual, user, &["info"]).succeeded().stdout;
    assert!(told.contains("layers        mounted"), "{told}");
    goes_through_an_archive(kiln, &store, user);
    run(kiln, &store, user, &["rmi", "app"]).succeeded();
    run(kiln, &store, user, &["prune", "--all", "--force"]).succeeded();
    let left = std::fs::read_dir(store.join("layers")).expect("layers");
    assert_eq!(left.count(), 0);
}

/// What was built is unpacked anew, deletions and all, and run upon.
fn goes_through_an_archive(kiln: &Kiln, store: &Path, user: Option<u32>) {
    let archive = kiln.path("home/app.tar").display().to_string();
    let run = |arguments: &[&str]| run(kiln, store, user, arguments).succeeded();
    run(&["save", "--output", &archive, "app"]);
    run(&["rmi", "app"]);
    run(&["prune", "--all", "--force"]);
    run(&["load", "--input", &archive]);
    run(&["store", "verify"]);
    let dockerfile = kiln.path("context/again");
    let text = "FROM app\nRUN test ! -e /tree/deep && test ! -e /tree/one && test -p /tree/pipe\n";
    std::fs::write(dockerfile, text).expect("a Dockerfile");
    run(&["build", "--quiet", "--file", "again", "."]);
}

#[test]
fn root_builds_the_same_on_an_overlay() {
    if needs::met(NEEDS) {
        the_same_on_both(&OverlayFileSystem::mount(), None);
    }
}

#[test]
fn user_builds_the_same_on_an_overlay() {
    if needs::met(NEEDS) {
        the_same_on_both(&OverlayFileSystem::mount(), Some(USER));
    }
}
