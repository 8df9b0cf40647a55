//! The commands that look after images, beside skopeo, umoci and Docker as readers and writers.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_testdata::command::stdout_of;
use kiln_testdata::{image, needs};
use serde_json::Value;

use crate::harness::{Kiln, Ran, docker, world};

const DOCKERFILE: &str = "FROM scratch\nCOPY data /data\nLABEL kept=yes\nENV A=1 B=2\n\
    COPY Dockerfile /etc/made-of\nCMD [\"/data\"]\n";

/// Builds an image of two layers called `name`.
fn build(kiln: &Kiln, name: &str, data: &str) {
    let context = kiln.context(DOCKERFILE);
    fs::write(context.join("data"), data).unwrap();
    kiln.build(&context, &["-t", name]);
}

fn skopeo(arguments: &[&str]) {
    stdout_of(Command::new("skopeo").args(arguments));
}

fn try_run(kiln: &Kiln, arguments: &[&str]) -> Ran {
    let mut command = kiln.command_with_mirror();
    command.args(arguments);
    Ran::from(command)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn images_are_listed_as_templates_and_filters_ask() {
    let kiln = Kiln::new();
    build(&kiln, "team/app:1.0", "one");
    build(&kiln, "other", "two");
    kiln.run(&["tag", "other", "other:2"]);
    let names = |arguments: &[&str]| {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        kiln.run(&[&format[..], arguments].concat())
    };
    assert_eq!(names(&[]), "other:2\nother:latest\nteam/app:1.0\n");
    assert_eq!(names(&["other"]), "other:2\nother:latest\n");
    assert_eq!(names(&["--filter", "reference=*/app"]), "team/app:1.0\n");
    assert_eq!(names(&["--filter", "label=kept=no"]), "");
    assert_eq!(
        names(&["--filter", "label=kept", "--filter", "reference=*:2"]),
        "other:2\n"
    );
    assert_eq!(names(&["--filter", "until=10h"]), "");
    let table = kiln.run(&["images", "--digests"]);
    let titles: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        titles,
        [
            "REPOSITORY",
            "TAG",
            "DIGEST",
            "IMAGE",
            "ID",
            "CREATED",
            "SIZE"
        ]
    );
    let json = kiln.run(&["images", "--format", "json", "team/app"]);
    let row: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&row["Tag"], &row["Labels"]),
        (&"1.0".into(), &"kept=yes".into())
    );
    // One line for an image with two names.
    let ids = kiln.run(&["images", "-q"]);
    let id = ids.lines().next().unwrap();
    assert_eq!((ids.lines().count(), id.len()), (2, 12));
    // An image that lost its name is dangling.
    build(&kiln, "team/app:1.0", "three");
    let dangling = kiln.run(&[
        "images",
        "--filter",
        "dangling=true",
        "--format",
        "{{.Tag}}",
    ]);
    assert!(dangling.lines().count() >= 1 && dangling.lines().all(|tag| tag == "<none>"));
    try_run(&kiln, &["images", "--format", "{{.Nme}}"])
        .failed_saying(2, &["there is no field `.Nme`"]);
    try_run(&kiln, &["images", "--filter", "colour=red"]).failed_saying(2, &["unknown filter"]);
}

#[test]
fn damaged_name_is_told_and_the_other_images_are_listed() {
    let kiln = Kiln::new();
    build(&kiln, "app:1", "one");
    kiln.run(&["tag", "app:1", "app:2"]);
    let name = kiln_oci::Digest::sha256("docker.io/library/app:1");
    let path = kiln.root().join("images").join(name.hex());
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("\"size\":", "\"size\":1")).unwrap();
    let said = [
        "the name `docker.io/library/app:1` (",
        "of an image is damaged",
        "hint: `kiln store verify --repair`",
    ];
    let listed = try_run(&kiln, &["images", "--format", "{{.Tag}}"]);
    assert_eq!(listed.stdout, "2\n");
    listed.failed_saying(5, &said);
    try_run(&kiln, &["history", "app:1"]).failed_saying(5, &said);
    try_run(&kiln, &["prune", "--force"]).failed_saying(5, &said);
    for arguments in [&["du"][..], &["inspect", "app:2"], &["store", "info"]] {
        let ran = try_run(&kiln, arguments).succeeded();
        assert!(ran.stderr.contains(said[0]), "{}", ran.description());
    }
    kiln.run(&["store", "verify", "--repair"]);
    assert_eq!(kiln.run(&["images", "--format", "{{.Tag}}"]), "2\n");
    // Who knows what the name is may take it away or give it anew at once.
    for arguments in [&["rmi", "app:1"][..], &["tag", "app:2", "app:1"]] {
        fs::write(&path, &whole[1..]).unwrap();
        kiln.run(arguments);
        try_run(&kiln, &["images"]).succeeded();
    }
}

#[test]
fn images_are_pruned_with_their_names_and_leave_the_cache_of_builds() {
    let kiln = Kiln::new();
    build(&kiln, "app:1", "one");
    build(&kiln, "other", "two");
    let tags = || kiln.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    try_run(&kiln, &["image", "prune"]).failed_saying(2, &["say --force"]);
    kiln.run(&["image", "prune", "--force"]);
    assert_eq!(tags(), "app:1\nother:latest\n");
    try_run(
        &kiln,
        &["image", "prune", "--force", "--filter", "label=kept"],
    )
    .failed_saying(2, &["chooses among named images", "--all"]);
    let prune = |filters: &[&str]| {
        let pruned = kiln.run(&[&["image", "prune", "--all", "--force"], filters].concat());
        let lines = pruned.lines().filter(|line| line.starts_with("Untagged"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(prune(&["--filter", "label!=kept"]).is_empty());
    assert!(prune(&["--filter", "until=10h"]).is_empty());
    assert_eq!(prune(&["--filter", "reference=app"]), ["Untagged: app:1"]);
    assert_eq!(prune(&[]), ["Untagged: other:latest"]);
    assert_eq!(kiln.run(&["images", "--all", "--quiet"]), "");
    kiln.run(&["store", "verify"]);
    let context = kiln.context(DOCKERFILE);
    fs::write(context.join("data"), "two").unwrap();
    assert_eq!(kiln.build(&context, &[]).executed_steps(), 0);
}

#[test]
fn images_are_found_by_parts_of_their_ids() {
    let kiln = Kiln::new();
    build(&kiln, "app:1", "one");
    let id = kiln.run(&["images", "-q", "--no-trunc"]);
    let id = id.trim();
    let short = &id["sha256:".len()..][..12];
    let digest = kiln.run(&["images", "--format", "{{.Digest}}"]);
    let by_digest = format!("app@{}", digest.trim());
    for name in [id, short, by_digest.as_str(), "app:1"] {
        let found = kiln.run(&["inspect", "--format", "{{.Id}}", name]);
        assert_eq!(found.trim(), id, "{name}");
    }
    let inspected = kiln.run(&[
        "inspect",
        "--format",
        "{{json .RepoTags}} {{index .Config.Env 2}} {{.Config.Labels}} {{len .RootFS.Layers}}",
        short,
    ]);
    assert_eq!(inspected.trim(), "[\"app:1\"] B=2 map[kept:yes] 2");
    try_run(&kiln, &["push", short]).failed_saying(2, &["not where to", "kiln tag"]);
    kiln.run(&["tag", short, "app:2"]);
    try_run(&kiln, &["rmi", short]).failed_saying(4, &["has 2 names: app:1, app:2"]);
    let removed = kiln.run(&["rmi", "--force", short]);
    assert_eq!(removed, "Untagged: app:1\nUntagged: app:2\n");
    try_run(&kiln, &["inspect", "app:1"]).failed_saying(4, &["no image `app:1`", "hint:"]);
}

#[test]
fn what_is_found_is_inspected_beside_what_is_not() {
    let kiln = Kiln::new();
    build(&kiln, "app:1", "one");
    let format = ["inspect", "--type", "image", "--format", "{{.Os}}"];
    let ran = try_run(&kiln, &[&format[..], &["absent", "app:1", "gone"]].concat());
    assert_eq!(ran.stdout, "linux\n");
    ran.failed_saying(4, &["no image `absent`", "no image `gone`", "hint:"]);
}

#[test]
fn what_images_say_of_themselves_does_not_command_terminals() {
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nLABEL a=\"\u{1b}[2J\u{7f}\"\nCOPY Dockerfile /\n");
    kiln.build(&context, &["-t", "app"]);
    let files = kiln.path("files.tar");
    kiln.run(&["export", "-o", text(&files), "app"]);
    kiln.run(&["import", "-m", "said\u{1b}[2J", text(&files), "imported"]);
    let told = kiln.run(&["history", "imported"]);
    assert!(told.contains("said\\u{1b}[2J"), "{told}");
    let labels = ["images", "--format", "table {{.Labels}}"];
    assert!(kiln.run(&labels).contains("a=\\u{1b}[2J\\u{7f}"));
    // Programs get what there is.
    let raw = kiln.run(&["images", "--format", "{{.Labels}}", "app"]);
    assert_eq!(raw, "a=\u{1b}[2J\u{7f}\n");
    let told = stdout_of(
        Command::new("script")
            .args([
                "-qec",
                "\"$KILN\" images --format '{{.Labels}}' app",
                "/dev/null",
            ])
            .env("KILN", crate::harness::binary())
            .env("KILN_ROOT", kiln.root())
            .env("SHELL", "/bin/sh"),
    );
    assert_eq!(told.trim_end(), "a=\\u{1b}[2J\\u{7f}");
}

#[test]
fn history_tells_of_each_step_once() {
    let kiln = Kiln::new();
    build(&kiln, "app", "one");
    let steps = kiln.run(&["history", "--format", "{{.CreatedBy}}", "app"]);
    let words: Vec<_> = steps
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(words, ["CMD", "COPY", "ENV", "LABEL", "COPY"]);
    let layers = kiln.run(&["history", "-q", "--no-trunc", "app"]);
    let missing = layers.lines().filter(|line| *line == "<missing>").count();
    assert_eq!((missing, layers.lines().count()), (3, 5));
    let titles = kiln.run(&["history", "app"]);
    assert!(titles.starts_with("LAYER "), "{titles}");
}

#[test]
fn differences_are_told_and_end_with_1() {
    let kiln = Kiln::new();
    build(&kiln, "first", "one");
    build(&kiln, "second", "two");
    kiln.run(&["tag", "first", "same"]);
    assert_eq!(kiln.run(&["diff", "first", "same"]), "");
    let ran = try_run(&kiln, &["diff", "first", "second"]);
    assert_eq!(ran.code, Some(1), "{}", ran.description());
    assert!(
        ran.stdout.contains("~ /data: content from byte 0"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("made-of: content"), "{}", ran.stdout);
    let ran = try_run(&kiln, &["diff", "--format", "json", "first", "second"]);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found["identical"], false);
    let mut files = found["files"].as_array().unwrap().iter();
    assert!(files.any(|file| file["path"] == "data" && file["change"] == "changed"));
    assert!(!ran.stdout.contains("\"path\":\"\""), "{}", ran.stdout);
    assert_eq!(found["layers"][0]["index"], 0);
    let quiet = try_run(&kiln, &["diff", "-q", "first", "second"]);
    assert_eq!((quiet.code, quiet.stdout.as_str()), (Some(1), ""));
    // Another configuration, the same files.
    let changed = kiln.context(
        &DOCKERFILE
            .replace("A=1", "A=9")
            .replace("COPY Dockerfile /etc/made-of\n", ""),
    );
    kiln.build(&changed, &["-t", "third"]);
    let ran = try_run(&kiln, &["diff", "second", "third"]);
    for part in [
        "config.Env[1]: \"A=1\" -> \"A=9\"",
        "- /etc (directory)",
        "- /etc/made-of (",
        "- 2: ",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
}

#[test]
fn archives_go_to_others_and_come_back_the_same() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    build(&kiln, "saved/app:1", "one");
    build(&kiln, "saved/other:2", "two");
    let [docker_archive, oci_archive, layout] =
        ["d.tar", "o.tar", "layout"].map(|name| kiln.path(name));
    let both = ["saved/app:1", "saved/other:2"];
    kiln.run(&[&["save", "-o", text(&docker_archive)][..], &both].concat());
    kiln.run(
        &[
            &["save", "--format", "oci", "-o", text(&oci_archive)][..],
            &both,
        ]
        .concat(),
    );
    kiln.run(&[
        "save",
        "--format",
        "oci-dir",
        "-o",
        text(&layout),
        "saved/app:1",
    ]);
    // Docker reads what we wrote.
    let loaded = stdout_of(
        docker()
            .client()
            .args(["load", "-i", text(&docker_archive)]),
    );
    assert!(
        loaded.contains("saved/app:1") && loaded.contains("saved/other:2"),
        "{loaded}"
    );
    let id = |kiln: &Kiln| kiln.run(&["inspect", "--format", "{{.Id}}", "saved/app:1"]);
    let docker_id =
        stdout_of(
            docker()
                .client()
                .args(["inspect", "--format", "{{.Id}}", "saved/app:1"]),
        );
    assert_eq!(docker_id, id(&kiln));
    // skopeo reads the layouts.
    let expected = image::root_file_system(&format!("oci:{}:1", layout.display()));
    let found = image::root_file_system(&format!(
        "docker-archive:{}:saved/app:1",
        docker_archive.display()
    ));
    assert_eq!(found, expected);
    image::manifest(&format!("oci-archive:{}:2", oci_archive.display()));
    // What Docker writes, we read: the image keeps its ID and its files.
    let from_docker = kiln.path("from-docker.tar");
    docker().save("saved/app:1", &from_docker);
    stdout_of(Command::new("gzip").arg("--keep").arg(&from_docker));
    let compressed = kiln.path("from-docker.tar.gz");
    for archive in [&from_docker, &compressed, &docker_archive, &oci_archive] {
        let other = Kiln::new();
        let told = other.run(&["load", "-i", text(archive)]);
        assert!(told.contains("Loaded image: saved/app:1\n"), "{told}");
        assert_eq!(id(&other), id(&kiln), "{}", archive.display());
        other.run(&["store", "verify"]);
        // What came in goes out again with the same bytes of every layer.
        let again = other.path("again.tar");
        other.run(&["save", "-o", text(&again), "saved/app:1"]);
        let found = image::root_file_system(&format!("docker-archive:{}", again.display()));
        assert_eq!(found, expected, "{}", archive.display());
    }
    docker()
        .client()
        .args(["rmi", "saved/app:1", "saved/other:2"])
        .output()
        .unwrap();
}

#[test]
fn images_come_from_standard_input_and_from_the_tools_of_others() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    build(&kiln, "app:1", "one");
    let layout = kiln.path("layout");
    kiln.run(&["save", "--format", "oci-dir", "-o", text(&layout), "app:1"]);
    let source = format!("oci:{}:1", layout.display());
    let digest = |kiln: &Kiln, name: &str| kiln.run(&["images", "--format", "{{.Digest}}", name]);
    // A layout's tag says nothing of the repository: the user does.
    let other = Kiln::new();
    let told = other.run(&["load", "-i", text(&layout), "--name", "mine:3"]);
    assert_eq!(told, "Loaded image: mine:3\n");
    let target = format!(
        "docker-archive:{}:theirs:1",
        kiln.path("skopeo.tar").display()
    );
    skopeo(&["copy", "--quiet", &source, &target]);
    let mut command = other.command();
    command
        .arg("load")
        .stdin(fs::File::open(kiln.path("skopeo.tar")).unwrap());
    let ran = Ran::from(command).succeeded();
    assert_eq!(ran.stdout, "Loaded image: theirs:1\n");
    assert_eq!(try_run(&other, &["diff", "mine:3", "theirs:1"]).stdout, "");
    // The manifest of a layout stays what it is.
    let pushed = format!("{}/images/kept:1", world().registry.address());
    other.run(&["tag", "mine:3", &pushed]);
    other.run(&["push", &pushed]);
    let manifest = stdout_of(
        Command::new("skopeo")
            .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
            .arg(format!("docker://{pushed}")),
    );
    assert_eq!(manifest.trim(), digest(&other, "mine").trim());
    other.run(&["store", "verify"]);
}

#[test]
fn hostile_archives_are_refused_and_leave_no_name() {
    let kiln = Kiln::new();
    build(&kiln, "app:1", "one");
    let archive = kiln.path("good.tar");
    kiln.run(&["save", "-o", text(&archive), "app:1"]);
    let directory = kiln.path("unpacked");
    fs::create_dir(&directory).unwrap();
    let unpack = || {
        fs::remove_dir_all(&directory).unwrap();
        fs::create_dir(&directory).unwrap();
        stdout_of(
            Command::new("tar")
                .arg("xf")
                .arg(&archive)
                .arg("-C")
                .arg(&directory),
        );
    };
    let load_changed = |expected: &[&str]| {
        let changed = kiln.path("changed.tar");
        stdout_of(
            Command::new("tar")
                .arg("cf")
                .arg(&changed)
                .arg("-C")
                .arg(&directory)
                .arg("."),
        );
        let other = Kiln::new();
        try_run(&other, &["load", "-i", text(&changed)]).failed_saying(4, expected);
        assert_eq!(other.run(&["images", "-q"]), "");
    };
    let blobs = || -> Vec<_> {
        let entries = fs::read_dir(directory.join("blobs/sha256")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort_by_key(|path| fs::metadata(path).unwrap().len());
        paths
    };
    // Another content under the name of a digest.
    unpack();
    fs::write(&blobs()[0], "something else").unwrap();
    load_changed(&["damaged"]);
    // As Docker's archive: a layer that is another one's, one that is not there, links to outside.
    let listed = |layer: &str| {
        unpack();
        fs::remove_file(directory.join("oci-layout")).unwrap();
        let path = directory.join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let first = manifest[0]["Layers"][1].clone();
        manifest[0]["Layers"][0] = match layer {
            "other" => first,
            layer => layer.into(),
        };
        fs::write(&path, manifest.to_string()).unwrap();
    };
    listed("other");
    load_changed(&["its configuration says sha256:"]);
    for outside in ["../../etc/passwd", "/etc/passwd", "nothing"] {
        listed(outside);
        load_changed(&[&format!("has no file `{outside}`")]);
    }
    listed("link");
    std::os::unix::fs::symlink("/etc/passwd", directory.join("link")).unwrap();
    load_changed(&["has no file `link`"]);
    // What is no archive of images at all.
    for (name, content, expected) in [
        ("empty.tar", vec![0u8; 1024], "neither `index.json`"),
        (
            "text.tar",
            b"just some text that is no archive".repeat(40),
            "cannot read the archive",
        ),
    ] {
        fs::write(kiln.path(name), content).unwrap();
        try_run(&kiln, &["load", "-i", text(&kiln.path(name))]).failed_saying(4, &[expected]);
    }
    try_run(&kiln, &["load", "-i", "/nonexistent.tar"]).failed_saying(5, &["/nonexistent.tar"]);
}

#[test]
fn files_are_imported_and_exported() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let files = kiln.path("files");
    fs::create_dir_all(files.join("bin")).unwrap();
    fs::write(files.join("bin/tool"), "tool").unwrap();
    let archive = kiln.path("files.tar.xz");
    stdout_of(
        Command::new("tar")
            .arg("cJf")
            .arg(&archive)
            .arg("-C")
            .arg(&files)
            .arg("."),
    );
    let id = kiln.run(&[
        "import",
        "--change",
        "CMD [\"/bin/tool\"]",
        "-c",
        "ENV A=1",
        "--message",
        "by hand",
        "--platform",
        "linux/arm64",
        text(&archive),
        "imported:1",
    ]);
    let shown = kiln.run(&[
        "inspect",
        "--format",
        "{{.Id}} {{.Architecture}} {{.Config.Cmd}} {{.Config.Env}} {{.Comment}}",
        "imported:1",
    ]);
    assert_eq!(
        shown.trim(),
        format!("{} arm64 [/bin/tool] [A=1] by hand", id.trim())
    );
    let exported = kiln.path("exported.tar");
    kiln.run(&["export", "-o", text(&exported), "imported:1"]);
    let listed = stdout_of(Command::new("tar").arg("tf").arg(&exported));
    assert!(
        listed
            .lines()
            .any(|line| line.trim_start_matches("./") == "bin/tool"),
        "{listed}"
    );
    let out = kiln.path("out");
    kiln.run(&["export", "-d", text(&out), "imported:1"]);
    assert_eq!(fs::read_to_string(out.join("bin/tool")).unwrap(), "tool");
    // Others can read it: the layer is archived when somebody needs it.
    let saved = kiln.path("saved.tar");
    kiln.run(&["save", "-o", text(&saved), "imported:1"]);
    image::root_file_system(&format!("docker-archive:{}", saved.display()));
    try_run(&kiln, &["import", "-c", "RUN true", text(&archive)])
        .failed_saying(2, &["`RUN true` cannot be applied"]);
}

/// Passes connections on to an engine, and counts what is sent to it.
fn counted(engine: PathBuf, socket: &Path) -> Arc<AtomicU64> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = UnixStream::connect(&engine).expect("the engine");
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let copied = io::copy(&mut from, &mut to).unwrap_or(0);
                count.fetch_add(copied, Ordering::SeqCst);
            });
            let (mut from, mut to) = (server, client);
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    sent
}

#[test]
fn engines_are_sent_only_what_they_lack() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let socket = kiln.path("socket");
    let sent = counted(docker().socket(), &socket);
    let load = |dockerfile: &str, name: &str| {
        let context = kiln.context(dockerfile);
        fs::write(context.join("large"), vec![b'x'; 4 << 20]).unwrap();
        let mut command = kiln.command();
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        command
            .args(["build", "-q", "--load", "-t", name])
            .arg(context);
        let before = sent.load(Ordering::SeqCst);
        let id = Ran::from(command).succeeded().stdout;
        let shown = docker()
            .client()
            .args(["inspect", "--format", "{{.Id}}", name])
            .output();
        assert_eq!(String::from_utf8_lossy(&shown.unwrap().stdout), id);
        sent.load(Ordering::SeqCst) - before
    };
    let base = "FROM scratch\nCOPY large /large\n";
    let whole = load(base, "loaded/base:1");
    assert!(whole > 4 << 20, "{whole}");
    let child = format!("{base}COPY Dockerfile /made-of\n");
    let missing = load(&child, "loaded/child:1");
    assert!(missing < 1 << 20, "{missing}");
    // An image that is there gets its name.
    let named = load(&child, "loaded/again:1");
    assert!(named < 16 << 10, "{named}");
    let names = ["loaded/base:1", "loaded/child:1", "loaded/again:1"];
    docker().client().arg("rmi").args(names).output().unwrap();
    // Without an engine it is said what to do.
    let mut command = kiln.command();
    command.env("DOCKER_HOST", "unix:///nonexistent/socket");
    command.args(["build", "--load"]).arg(kiln.context(base));
    Ran::from(command).failed_saying(2, &["no container engine answers", "hint: start Docker"]);
}

#[test]
fn shells_get_scripts_that_complete_commands() {
    let kiln = Kiln::new();
    for (shell, part) in [
        ("bash", "_kiln"),
        ("zsh", "#compdef kiln"),
        ("fish", "complete -c kiln"),
    ] {
        let script = kiln.run(&["completion", shell]);
        assert!(
            script.contains(part) && script.contains("no-trunc"),
            "{shell}"
        );
    }
    assert!(!kiln.root().exists());
    try_run(&kiln, &["completion", "nosh"]).failed_saying(2, &["nosh"]);
}

#[test]
fn lists_of_the_store_take_templates_too() {
    let kiln = Kiln::new();
    build(&kiln, "app:1", "one");
    let types = kiln.run(&["du", "--filter", "type=regular", "--format", "{{.type}}"]);
    assert!(
        types.lines().count() >= 2 && types.lines().all(|line| line == "regular"),
        "{types}"
    );
    let table = kiln.run(&["cache-mount", "ls", "--format", "table {{.id}}\\t{{.uses}}"]);
    assert_eq!(table, "ID        USES\n");
    assert!(kiln.run(&["image", "ls", "-q"]).len() > 10);
    let info = kiln.run(&[
        "store",
        "info",
        "--format",
        "{{.images}} {{gt .total_bytes 1000}}",
    ]);
    assert_eq!(info, "1 true\n");
}
