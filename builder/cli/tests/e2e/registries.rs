//! Logins, tags, copies and lists, against Debian's registry with and without passwords.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kiln_testdata::command::stdout_of;
use kiln_testdata::distribution::{Registry, Setup};
use kiln_testdata::{image, needs};
use serde_json::Value;

use crate::harness::{Kiln, Ran, world};

fn build(kiln: &Kiln, name: &str, platform: &str, data: &str) {
    let context = kiln.context("FROM scratch\nCOPY data /data\n");
    fs::write(context.join("data"), data).unwrap();
    kiln.build(&context, &["-t", name, "--platform", platform, "--push"]);
}

fn try_run(kiln: &Kiln, arguments: &[&str]) -> Ran {
    let mut command = kiln.command();
    command.args(arguments);
    Ran::from(command)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Returns the digest that a name has in its registry.
fn digest(name: &str) -> String {
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--tls-verify=false", "--raw"]);
    let raw = stdout_of(command.arg(format!("docker://{name}")));
    kiln_testdata::registry::digest_of(raw.as_bytes())
}

fn log_in(kiln: &Kiln, arguments: &[&str], password: &str) -> Ran {
    let mut command = kiln.command();
    command.args(["login", "--password-stdin"]).args(arguments);
    let file = kiln.path("password");
    fs::write(&file, format!("{password}\n")).unwrap();
    command.stdin(fs::File::open(&file).unwrap());
    Ran::from(command)
}

#[test]
fn logins_are_verified_kept_for_everybody_and_forgotten() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let registry = Registry::start_as(&Setup {
        asks_password: true,
        ..Setup::default()
    });
    let (kiln, address) = (Kiln::new(), registry.address());
    let docker = kiln.path("home/.docker");
    fs::create_dir(&docker).unwrap();
    let config = docker.join("config.json");
    fs::write(
        &config,
        r#"{"HttpHeaders": {"X": "1"}, "auths": {"other": {"auth": "eA=="}}}"#,
    )
    .unwrap();
    log_in(&kiln, &["-u", "user", &address], "wrong").failed_saying(
        4,
        &[
            "cannot log in to",
            "the configured credentials were refused",
        ],
    );
    assert!(!fs::read_to_string(&config).unwrap().contains(&address));
    let told = log_in(&kiln, &["-u", "user", &address], "secret").succeeded();
    assert_eq!(told.stdout, "Login Succeeded\n");
    assert!(told.stderr.contains("unencrypted"), "{}", told.stderr);
    let mode = fs::metadata(&config).unwrap().permissions().mode() & 0o777;
    let kept: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!((mode, &kept["HttpHeaders"]["X"]), (0o600, &"1".into()));
    assert_eq!(kept["auths"]["other"]["auth"], "eA==");
    // Kiln and skopeo find it there.
    let name = format!("{address}/team/app:1");
    build(&kiln, &name, "linux/amd64", "one");
    let mut skopeo = Command::new("skopeo");
    skopeo
        .env("HOME", kiln.path("home"))
        .env_remove("XDG_RUNTIME_DIR");
    skopeo.args(["inspect", "--tls-verify=false", "--raw"]);
    stdout_of(skopeo.arg(format!("docker://{name}")));
    let told = try_run(&kiln, &["logout", &address]).succeeded();
    assert!(
        told.stdout.contains("Removing login credentials"),
        "{}",
        told.stdout
    );
    try_run(&kiln, &["tags", &format!("{address}/team/app")])
        .failed_saying(4, &["no credentials are configured", "kiln login"]);
    let told = try_run(&kiln, &["logout", &address]).succeeded();
    assert!(told.stdout.contains("Not logged in"), "{}", told.stdout);
    // In a file of one's own, and with a helper that the file names.
    let own = kiln.path("auth.json");
    log_in(
        &kiln,
        &["-u", "user", "--authfile", text(&own), &address],
        "secret",
    )
    .succeeded();
    let mut command = kiln.command();
    command
        .env("REGISTRY_AUTH_FILE", &own)
        .args(["tags", &format!("{address}/team/app")]);
    assert_eq!(Ran::from(command).succeeded().stdout, "1\n");
    with_helper(&kiln, &config, &address);
}

/// A credential helper that keeps what it is given in a file.
fn with_helper(kiln: &Kiln, config: &Path, address: &str) {
    let bin = kiln.path("bin");
    fs::create_dir(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    let script = "#!/bin/sh\ncase \"$1\" in\nstore) cat > \"$HOME/kept\" ;;\n\
        get) cat > /dev/null; cat \"$HOME/kept\" ;;\nerase) cat > /dev/null; rm \"$HOME/kept\" ;;\nesac\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(config, r#"{"credsStore": "test"}"#).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let run = |arguments: &[&str]| {
        let mut command = kiln.command();
        command.env("PATH", &path).args(arguments);
        command.stdin(fs::File::open(kiln.path("password")).unwrap());
        Ran::from(command).succeeded()
    };
    let told = run(&["login", "-u", "user", "--password-stdin", address]);
    assert!(
        told.stderr.contains("kept by the credential helper `test`"),
        "{}",
        told.stderr
    );
    let file = fs::read_to_string(config).unwrap();
    assert!(
        !file.contains("secret") && !file.contains("\"auth\""),
        "{file}"
    );
    assert_eq!(run(&["tags", &format!("{address}/team/app")]).stdout, "1\n");
    run(&["logout", address]);
    assert!(!kiln.path("home/kept").exists());
}

#[test]
fn tags_are_listed_and_chosen() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let repository = format!("{}/tags/many", world().registry.address());
    build(&kiln, &format!("{repository}:v000"), "linux/amd64", "one");
    for tag in ["v040", "v080"] {
        let name = format!("docker://{repository}:{tag}");
        kiln.run(&["copy", "-q", &format!("{repository}:v000"), &name]);
    }
    assert_eq!(kiln.run(&["tags", &repository]), "v000\nv040\nv080\n");
    assert_eq!(
        kiln.run(&["tags", "-f", "v0?0", "--limit", "2", &repository]),
        "v000\nv040\n"
    );
    let json = kiln.run(&["tags", "--format", "json", "--limit", "1", &repository]);
    let row: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(row["Name"], format!("{repository}:v000"));
    try_run(&kiln, &["tags", &format!("{repository}/none")]).failed_saying(4, &["404"]);
}

#[test]
fn copies_keep_digests_between_registries_layouts_and_archives() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let address = world().registry.address();
    let source = format!("{address}/copies/source:1");
    build(&kiln, &source, "linux/amd64,linux/arm64", "one");
    let expected = digest(&source);
    // Within a registry blobs are mounted.
    let mounted = format!("{address}/copies/mounted:1");
    let told = try_run(&kiln, &["copy", &source, &mounted]).succeeded();
    assert!(told.stderr.contains("mounted sha256:"), "{}", told.stderr);
    assert!(!told.stderr.contains("copied sha256:"), "{}", told.stderr);
    assert_eq!(digest(&mounted), expected);
    // Through a layout and an archive into another registry.
    let layout = format!("oci:{}:one", kiln.path("layout").display());
    let archive = format!("oci-archive:{}:app:1", kiln.path("oci.tar").display());
    let other = Registry::start();
    let last = format!("{}/copies/last:1", other.address());
    for (from, to) in [(&source, &layout), (&layout, &archive), (&archive, &last)] {
        let copied = try_run(&kiln, &["copy", "-q", from, to]).succeeded();
        assert_eq!(copied.stdout.trim(), expected, "{to}");
    }
    assert_eq!(digest(&last), expected);
    // One platform alone comes as it is, and into Docker's archive.
    let arm = format!("{address}/copies/arm:1");
    try_run(&kiln, &["copy", "--platform", "linux/arm64", &source, &arm]).succeeded();
    assert_eq!(
        image::config(&format!("docker://{arm}"))["architecture"],
        "arm64"
    );
    let docker = format!("docker-archive:{}:app:1", kiln.path("docker.tar").display());
    try_run(&kiln, &["copy", "-q", &source, &docker]).succeeded();
    let files = image::root_file_system(&docker);
    assert_eq!(
        files,
        image::root_file_system(&format!("docker://{mounted}"))
    );
    let back = format!("{address}/copies/back:1");
    try_run(&kiln, &["copy", "-q", &docker, &back]).succeeded();
    assert_eq!(
        image::config(&format!("docker://{back}"))["architecture"],
        "amd64"
    );
    // Nothing is left beside the archives, and the store was not needed.
    let left = fs::read_dir(kiln.path("")).unwrap().filter_map(Result::ok);
    assert!(
        left.into_iter()
            .all(|one| !one.file_name().to_string_lossy().starts_with(".kiln"))
    );
    // A damaged blob does not go anywhere.
    let blobs = kiln.path("layout/blobs/sha256");
    let largest = fs::read_dir(blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let largest = largest
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    fs::write(&largest, "damaged").unwrap();
    let target = format!("oci:{}:x", kiln.path("other").display());
    let ran = try_run(&kiln, &["copy", &layout, &target]);
    assert!(
        ran.code.is_some_and(|code| code == 4 || code == 5),
        "{}",
        ran.description()
    );
    assert!(!kiln.path("other/index.json").exists());
    try_run(&kiln, &["copy", "dir:x", &target]).failed_saying(2, &["`dir:` is not supported"]);
    try_run(&kiln, &["copy", &format!("{address}/none:1"), &target]).failed_saying(4, &["404"]);
}

#[test]
fn lists_are_made_in_registries_and_in_the_store() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let address = world().registry.address();
    let name = |name: &str| format!("{address}/lists/{name}");
    build(&kiln, &name("amd:1"), "linux/amd64", "amd");
    build(&kiln, &name("arm:1"), "linux/arm64", "arm");
    let raw = |name: &str| image::manifest(&format!("docker://{name}"));
    let platforms = |list: &Value| -> Vec<String> {
        let entries = list["manifests"].as_array().unwrap().iter();
        let platform = |entry: &Value| {
            entry["platform"]["architecture"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        entries.map(platform).collect()
    };
    // Straight to the registry, without the store.
    let direct = name("direct:1");
    let empty = Kiln::new();
    let create = [
        "manifest",
        "create",
        "--push",
        "--annotation",
        "who=me",
        &direct,
    ];
    let told = try_run(&empty, &[&create[..], &[&name("amd:1")]].concat()).succeeded();
    assert!(told.stdout.contains(&digest(&direct)), "{}", told.stdout);
    try_run(
        &empty,
        &[
            "manifest",
            "create",
            "--push",
            "--append",
            &direct,
            &name("arm:1"),
        ],
    )
    .succeeded();
    let list = raw(&direct);
    assert_eq!(platforms(&list), ["amd64", "arm64"]);
    assert_eq!(list["annotations"]["who"], "me");
    assert_eq!(list["manifests"][0]["digest"], digest(&name("amd:1")));
    assert!(!empty.root().join("images").exists());
    // In the store, annotated, and pushed: of images here and there.
    let stored = name("stored:1");
    let dry = kiln.run(&["manifest", "create", "--dry-run", &stored, &name("arm:1")]);
    assert_eq!(platforms(&serde_json::from_str(&dry).unwrap()), ["arm64"]);
    empty.run(&[
        "manifest",
        "create",
        &stored,
        &name("amd:1"),
        &name("arm:1"),
    ]);
    try_run(&empty, &["manifest", "create", &stored, &name("amd:1")])
        .failed_saying(2, &["there is a list", "--append"]);
    let arm = digest(&name("arm:1"));
    empty.run(&[
        "manifest",
        "annotate",
        "--variant",
        "v8",
        "--os-version",
        "9",
        &stored,
        &arm,
    ]);
    let shown = empty.run(&[
        "manifest",
        "inspect",
        "--format",
        "{{(index .manifests 1).platform.variant}}",
        &stored,
    ]);
    assert_eq!(shown, "v8\n");
    empty.run(&["manifest", "push", "--purge", &stored]);
    let list = raw(&stored);
    assert_eq!(platforms(&list), ["amd64", "arm64"]);
    assert_eq!(list["manifests"][1]["platform"]["os.version"], "9");
    assert_eq!(list["manifests"][1]["digest"], arm);
    assert_eq!(empty.run(&["images", "-q"]), "");
    // Others can pull each of them.
    let pulled = Kiln::new();
    pulled.run(&["pull", "--platform", "linux/arm64", &stored]);
    assert_eq!(
        pulled.run(&["images", "--format", "{{.Platforms}}"]),
        "linux/arm64\n"
    );
    try_run(
        &empty,
        &["manifest", "annotate", "--os", "x", &stored, &arm],
    )
    .failed_saying(4, &["no list"]);
}
