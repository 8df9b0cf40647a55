//! The same sources give the same bytes: elsewhere, later, on more threads, from a cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln_testdata::command::stdout_of;
use kiln_testdata::{image, needs};
use serde_json::Value;

use crate::harness::Kiln;

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
