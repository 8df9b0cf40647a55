//! Builds in a container with its engine's defaults: no namespaces, no mounts.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testdata::archive::{ImageTree, read_tar_archive};
use kiln_testdata::base::{BASE_NAME, BASE_TAG, base_image};
use kiln_testdata::command::{output_of, stdout_of};
use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, Ran, binary, docker};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("dockerd"),
    Need::Program("docker-registry"),
    Need::Program("skopeo"),
    Need::Program("busybox"),
];

/// The image that the containers are made of: the binary, and a shell.
const IMAGE: &str = "kiln-in-a-container";

fn make_image(kiln: &Kiln) {
    let root = kiln.path("container");
    for name in ["bin", "tmp", "root", "etc"] {
        std::fs::create_dir_all(root.join(name)).expect("a directory");
    }
    std::fs::copy(binary(), root.join("bin/kiln")).expect("the binary");
    std::fs::copy("/bin/busybox", root.join("bin/sh")).expect("a shell");
    let archive = kiln.path("container.tar");
    stdout_of(
        Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg("."),
    );
    stdout_of(docker().client().arg("import").arg(&archive).arg(IMAGE));
}

/// Returns a container's command, to be given options; it has the test's files and the base.
fn container(kiln: &Kiln, options: &[&str], arguments: &[&str]) -> Command {
    let volume = |path: &Path, at: &str| format!("{}:{at}", path.display());
    let mut command = docker().client();
    command
        .args(["run", "--rm", "--network=host"])
        .args(["-v", &volume(&base_image(), "/base:ro")])
        .args(["-v", &volume(&kiln.path(""), "/test")])
        .args(options)
        .args([IMAGE, "/bin/kiln"])
        .args(arguments);
    command
}

fn base_at(directory: &str) -> String {
    format!("{BASE_NAME}=oci-layout://{directory}:{BASE_TAG}")
}

/// What can be compared: all but times, and what tells of the builds themselves.
fn files(archive: &Path) -> ImageTree {
    let mut tree = read_tar_archive(archive);
    for file in tree.values_mut() {
        file.modified = 0;
    }
    tree
}

const DOCKERFILE: &str = "\
FROM debian:bookworm
COPY --chown=33:34 text /srv/
RUN rm /etc/debian_version && mkdir -p /made/deep && echo x >/made/deep/file \\
    && chmod 4755 /made/deep/file && ln /made/deep/file /made/hard && ln -s deep /made/link \\
    && chown -h 7:8 /made/link /made && useradd --create-home --uid 1234 ann \\
    && mknod /made/pipe p && rm -r /usr/share/doc
RUN --mount=type=cache,target=/cache echo kept >/cache/file && (sleep 600 &)
COPY text /made/deep/text
RUN --mount=type=cache,target=/cache cp /cache/file /made/cached && rm -r /made/deep
RUN --mount=type=bind,target=/context --mount=type=tmpfs,target=/made/memory \\
    --mount=type=secret,id=word cp /context/text /made/memory/ && cp /made/memory/text /made/ \\
    && test $(cat /run/secrets/word) = hidden && echo 192.0.2.1 x >/etc/hosts || true
USER ann
WORKDIR /home/ann/work
RUN id -un >name && test ! -e /proc/self/status -o -e /proc/1
";

#[test]
fn root_in_a_container_builds_the_same_files() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    make_image(&kiln);
    let context = kiln.context(DOCKERFILE);
    std::fs::write(context.join("text"), "text").expect("a file");
    std::fs::write(kiln.path("word"), "hidden").expect("a secret");
    let arguments = |directory: &str, base: &str, name: &str| -> Vec<String> {
        let words = [
            "build",
            "--progress=plain",
            "--build-context",
            &base_at(base),
            "--secret",
            &format!("id=word,src={directory}/word"),
            "--output",
            &format!("type=tar,dest={directory}/{name}"),
            &format!("{directory}/context"),
        ];
        words.map(str::to_owned).to_vec()
    };
    let inside = arguments("/test", "/base", "inside.tar");
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let ran = Ran::from(container(&kiln, &[], &inside)).succeeded();
    assert!(!ran.stderr.contains("warning"), "{}", ran.description());
    let here = kiln.path("");
    let base = base_image();
    let outside = arguments(
        here.to_str().expect("a path").trim_end_matches('/'),
        base.to_str().expect("a path"),
        "outside.tar",
    );
    let mut command = kiln.command();
    command.args(outside);
    Ran::from(command).succeeded();
    let (inside, outside) = (
        files(&kiln.path("inside.tar")),
        files(&kiln.path("outside.tar")),
    );
    let paths = inside.keys().chain(outside.keys());
    let different: Vec<&PathBuf> = paths
        .filter(|path| inside.get(*path) != outside.get(*path))
        .collect();
    assert!(inside.len() > 1000 && different.is_empty(), "{different:?}");
    assert_eq!(inside[Path::new("home/ann/work/name")].head, b"ann\n");
}

/// What steps try: to get out, and to leave what leads out for copies and for the set-up of a
/// later step.
const ATTEMPTS: &[&str] = &[
    "RUN ! cat /test/canary/secret && ! ls /proc/1/root/ && ! chroot / /bin/true && cd ../../.. && pwd -P\n\
     RUN for i in 3 4 5 6 7 8 9; do ! ls /dev/fd/$i/.. && ! ls /proc/self/fd/$i/.. || exit 1; done\n\
     RUN mknod /tmp/d b 8 0 && ! head -c1 /tmp/d && mknod /tmp/m c 1 1 && ! head -c1 /tmp/m\n\
     RUN ! mount -t tmpfs x /tmp && ! mount --bind / /mnt && ! unshare -m true && ! hostname x",
    "RUN ln -s /test/canary /l && ln -s ../../../../test/canary /m\nCOPY file /l/\nCOPY file /m/\n\
     RUN rm -rf /srv && ln -s /test/canary /srv\nWORKDIR /srv/made\nRUN echo x >file\n\
     RUN ln -s /test/canary /c\nRUN --mount=type=tmpfs,target=/c echo x >/c/y\n\
     RUN rm -rf /run; ln -s /test/canary /run\nRUN --mount=type=cache,target=/run/c echo x >/run/c/y",
    "RUN rm -f /etc/hosts /etc/resolv.conf; ln -s /test/canary/secret /etc/hosts; \
     ln -s /test/canary/made /etc/resolv.conf\nRUN true\n\
     RUN rm -rf /proc; ln -s /test/canary /proc\nRUN true\n\
     RUN mv /dev /was && ln -s /test/canary /dev\nRUN true",
];

#[test]
fn nothing_of_a_container_is_reached_from_a_changed_root() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    make_image(&kiln);
    let canary = kiln.path("canary");
    std::fs::create_dir(&canary).expect("a directory");
    std::fs::write(canary.join("secret"), "HOST").expect("a canary");
    for attempt in ATTEMPTS {
        let context = kiln.context(&format!("FROM debian:bookworm\n{attempt}\n"));
        std::fs::write(context.join("file"), "file").expect("a file");
        let base = base_at("/base");
        let words = [
            "build",
            "--progress=plain",
            "--build-context",
            &base,
            "/test/context",
        ];
        let options = ["-e", "KILN_ROOT=/test/inner"];
        let ran = Ran::from(container(&kiln, &options, &words));
        assert!(!ran.stderr.contains("HOST"), "{}", ran.description());
        // A set-up that finds a link where it wants a directory may refuse; a command may not fail.
        let refused = ran.stderr.contains("caused by: the command ended");
        assert!(!refused, "{attempt}: {}", ran.description());
        let left: Vec<_> = std::fs::read_dir(&canary)
            .expect("the canary")
            .flatten()
            .collect();
        assert_eq!(left.len(), 1, "{attempt}: {left:?}");
        let secret = std::fs::read_to_string(canary.join("secret")).expect("the canary");
        assert_eq!(secret, "HOST", "{attempt}");
    }
    let verify = container(
        &kiln,
        &["-e", "KILN_ROOT=/test/inner"],
        &["store", "verify"],
    );
    Ran::from(verify).succeeded();
}

#[test]
fn what_a_changed_root_cannot_give_is_told() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    make_image(&kiln);
    let build = |dockerfile: &str, options: &[&str]| {
        kiln.context(dockerfile);
        let base = base_at("/base");
        let words = [
            "build",
            "--progress=plain",
            "--build-context",
            &base,
            "/test/context",
        ];
        let output = output_of(&mut container(&kiln, options, &words));
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = build("FROM debian:bookworm\nRUN --network=none true\n", &[]);
    assert!(said.contains("lacks network namespaces"), "{said}");
    let said = build(
        "FROM debian:bookworm\nRUN true\n",
        &["-u", "1000", "-e", "HOME=/tmp"],
    );
    assert!(said.contains("cannot make a user namespace"), "{said}");
    assert!(said.contains("run kiln as root (`--user 0`)"), "{said}");
}

#[test]
fn info_tells_the_rung_and_what_the_next_one_lacks() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    make_image(&kiln);
    let info = |options: &[&str]| stdout_of(&mut container(&kiln, options, &["info"]));
    let said = info(&[]);
    for expected in [
        "changed root, without namespaces",
        "may not make namespaces: Operation not permitted",
        "--privileged",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    let said = info(&["-u", "1000", "-e", "HOME=/tmp"]);
    assert!(
        said.contains("it is not root, which could change the root"),
        "{said}"
    );
    let said = info(&[
        "--cap-add=SYS_ADMIN",
        "--security-opt=seccomp=unconfined",
        "--security-opt=systempaths=unconfined",
    ]);
    assert!(said.contains("root, in namespaces"), "{said}");
}
