//! The same sources give the same bytes: elsewhere, later, on more threads, from a cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln_testdata::command::stdout_of;
use kiln_testdata::foreign::foreign_image;
use kiln_testdata::needs::Need;
use kiln_testdata::{image, needs};
use serde_json::Value;

use crate::harness::{Kiln, Ran, binary};

const DOCKERFILE: &str = "\
FROM debian:bookworm AS tools
RUN mkdir /tools && echo tool > /tools/run && chmod 755 /tools/run
FROM debian:bookworm
WORKDIR /app
COPY . .
RUN cp -a src copied && ln copied/main copied/link
COPY --from=tools /tools /tools
";

/// Writes the sources as a checkout has them that was made `days` ago with `umask`.
fn checkout(kiln: &Kiln, name: &str, days: u64, mode: u32) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let context = kiln.path(name);
    fs::create_dir_all(context.join("src")).unwrap();
    let made = SystemTime::now() - Duration::from_secs(days * 86_400);
    for (file, text) in [("Dockerfile", DOCKERFILE), ("src/main", "main\n")] {
        let path = context.join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::File::open(&path).unwrap().set_modified(made).unwrap();
    }
    context
}

/// Builds `context` with its own store and returns the digest of the image.
fn digest(kiln: &Kiln, context: &Path, arguments: &[&str]) -> String {
    let file = kiln.path("metadata.json");
    let metadata_file = format!("--metadata-file={}", file.display());
    let output = format!(
        "--output=type=oci,dest={}",
        kiln.path("image.tar").display()
    );
    kiln.build(
        context,
        &[&[metadata_file.as_str(), &output], arguments].concat(),
    );
    let text = fs::read_to_string(file).unwrap();
    let metadata: Value = serde_json::from_str(&text).unwrap();
    metadata["containerimage.digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn image_is_the_same_from_another_checkout_later_and_on_other_threads() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (one, other) = (Kiln::new(), Kiln::new());
    let first = digest(
        &one,
        &checkout(&one, "first", 900, 0o644),
        &["--reproducible", "--jobs=1"],
    );
    // Times in images are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let context = checkout(&other, "second", 0, 0o664);
    let arguments = ["--reproducible", "--jobs=8", "--context-modes=normalize"];
    assert_eq!(digest(&other, &context, &arguments), first);
    let archive = other.path("image.tar");
    let config = image::config(&format!("oci-archive:{}", archive.display()));
    assert_eq!(config["created"], "1980-01-01T00:00:00Z");
}

#[test]
fn layers_from_the_cache_are_those_that_a_new_build_makes() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (warm, cold) = (Kiln::new(), Kiln::new());
    let context = checkout(&warm, "context", 1, 0o644);
    digest(&warm, &context, &[]);
    digest(&warm, &context, &["--reproducible"]);
    std::thread::sleep(Duration::from_millis(1100));
    let dockerfile = format!("{DOCKERFILE}RUN echo more > /more\n");
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let expected = digest(&cold, &context, &["--reproducible"]);
    assert_eq!(digest(&warm, &context, &["--reproducible"]), expected);
}

#[test]
fn image_of_a_checkout_has_the_time_of_its_commit() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nCOPY Dockerfile /\n");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-C", context.to_str().unwrap()]);
        git.args([
            "-c",
            "user.name=tester",
            "-c",
            "user.email=tester@example.org",
        ]);
        git.env("GIT_COMMITTER_DATE", "2024-05-06T07:08:09Z");
        stdout_of(git.args(arguments));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    digest(&kiln, &context, &["--reproducible"]);
    let archive = kiln.path("image.tar");
    let config = image::config(&format!("oci-archive:{}", archive.display()));
    assert_eq!(config["created"], "2024-05-06T07:08:09Z");
    assert_eq!(config["history"][0]["created"], "2024-05-06T07:08:09Z");
}

#[test]
fn configuration_can_make_every_build_reproducible() {
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nCOPY Dockerfile /\n");
    let real = digest(&kiln, &context, &[]);
    let configuration = kiln.path("config.toml");
    fs::write(&configuration, "[build]\nreproducible = true\n").unwrap();
    let from_file = format!("--config={}", configuration.display());
    let first = digest(&kiln, &context, &[&from_file]);
    assert_ne!(real, first);
    assert_eq!(digest(&kiln, &context, &["--reproducible"]), first);
    let flag = "--reproducible=false";
    assert_eq!(digest(&kiln, &context, &[&from_file, flag]), real);
}

/// What making an image of busybox takes.
const BUSYBOX: &[Need] = &[
    Need::Root,
    Need::Program("mmdebstrap"),
    Need::Program("umoci"),
    Need::Program("setpriv"),
    Need::Program("qemu-aarch64-static"),
];

const SEVERAL: &str = "\
FROM base-$TARGETARCH
WORKDIR /app
COPY . .
RUN mkdir made && cp src/main made/main && ls > made/list
";

/// Builds an index by whoever `command` makes of the program, and returns its digest.
fn index_digest(mut command: Command, place: &Path, context: &Path, jobs: &str) -> String {
    let metadata = place.join("metadata.json");
    let output = format!(
        "--output=type=oci,dest={}",
        place.join("image.tar").display()
    );
    command.args(["build", "--progress=plain", "--reproducible", jobs, &output]);
    command.args([
        "--platform=linux/amd64,linux/arm64",
        "--context-modes=normalize",
    ]);
    command.arg("--metadata-file").arg(&metadata);
    for architecture in ["amd64", "arm64"] {
        let layout = place.parent().unwrap().join(architecture);
        let named = format!("base-{architecture}=oci-layout://{}", layout.display());
        command.args(["--build-context", &named]);
    }
    Ran::from({
        command.arg(context);
        command
    })
    .succeeded();
    let metadata: Value = serde_json::from_str(&fs::read_to_string(metadata).unwrap()).unwrap();
    metadata["containerimage.digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn index_is_the_same_by_root_and_by_a_user() {
    use std::os::unix::fs::PermissionsExt;
    if !needs::met(BUSYBOX) {
        return;
    }
    // Where everybody can read.
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for architecture in ["amd64", "arm64"] {
        let layout = foreign_image(&format!("linux/{architecture}"), &[]);
        let copy = shared.path().join(architecture);
        stdout_of(Command::new("cp").arg("-r").arg(layout).arg(&copy));
        stdout_of(Command::new("chmod").args(["-R", "a+rX"]).arg(copy));
    }
    let program = shared.path().join("kiln");
    fs::copy(binary(), &program).unwrap();
    let kiln = Kiln::new();
    let mut digests = Vec::new();
    for (name, user, days, mode, jobs) in [
        ("root", "0", 900, 0o644, "--jobs=1"),
        ("user", "65534", 1, 0o664, "--jobs=2"),
    ] {
        let place = shared.path().join(name);
        let context = checkout(&kiln, name, days, mode);
        fs::write(context.join("Dockerfile"), SEVERAL).unwrap();
        stdout_of(Command::new("cp").arg("-a").arg(&context).arg(&place));
        stdout_of(Command::new("chown").args(["-R", user]).arg(&place));
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        command.arg(&program).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", &place)
            .env("KILN_ROOT", place.join("store"));
        let sources = place.join("sources");
        fs::create_dir(&sources).unwrap();
        fs::rename(place.join("src"), sources.join("src")).unwrap();
        fs::rename(place.join("Dockerfile"), sources.join("Dockerfile")).unwrap();
        digests.push(index_digest(command, &place, &sources, jobs));
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn second_build_tells_what_differs() {
    if !needs::met(BUSYBOX) {
        return;
    }
    let kiln = Kiln::new();
    let context = checkout(&kiln, "context", 1, 0o644);
    let layout = foreign_image("linux/amd64", &[]);
    let base = format!("--build-context=base=oci-layout://{}", layout.display());
    let arguments = ["--verify-reproducible", "--platform=linux/amd64", &base];
    let same = "FROM base\nWORKDIR /app\nCOPY . .\nRUN echo same > /same\n";
    fs::write(context.join("Dockerfile"), same).unwrap();
    let ran = kiln.build(&context, &arguments);
    let said = "the image is the same when it is built again";
    assert!(ran.stderr.contains(said), "{}", ran.description());
    let other = format!("{same}RUN cat /proc/sys/kernel/random/uuid > /random\n");
    fs::write(context.join("Dockerfile"), other).unwrap();
    kiln.try_build(&context, &arguments).failed_saying(
        1,
        &[
            "linux/amd64:\nLayers:\n  ~ 5: ",
            "~ /random: content",
            "the image is another one when it is built again: 1 file differs",
        ],
    );
    fs::write(context.join("Dockerfile"), same).unwrap();
    let real = [&arguments[..], &["--reproducible=false"]].concat();
    kiln.try_build(&context, &real).failed_saying(
        1,
        &[
            "~ /app/src/main: modified ",
            "hint: times are left out with --reproducible",
        ],
    );
    let mut beside = fs::read_dir(kiln.root().parent().unwrap()).unwrap();
    let is_left = |name: &str| name.starts_with("kiln-verify-");
    assert!(!beside.any(|entry| is_left(&entry.unwrap().file_name().to_string_lossy())));
}
