//! Contexts of every kind: directories, standard input, addresses, images, image layouts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_testdata::base::BASE_NAME;
use kiln_testdata::command::stdout_of;
use kiln_testdata::git::{FIRST_COMMIT_SECONDS, TestRepository, serve_http};
use kiln_testdata::needs::{self, Need};
use kiln_testdata::web::{WebReply, WebServer};

use crate::harness::{Kiln, Ran, docker};

const COPY_ALL: &str = "FROM scratch\nCOPY . /\n";
const NEEDS: &[Need] = &[Need::Root, Need::Program("tar")];
const GIT: &[Need] = &[Need::Root, Need::Program("git")];

/// The exit codes of a wrong command line and of a wrong Dockerfile.
const USAGE: i32 = 2;
const DOCKERFILE: i32 = 3;

/// The compressions of archives, each with the program that makes it.
const COMPRESSIONS: [&[&str]; 5] = [
    &["cat"],
    &["gzip", "-n"],
    &["bzip2"],
    &["xz"],
    &["zstd", "-q"],
];

/// A context, a place for what comes of it, and what is piped in.
struct Project {
    kiln: Kiln,
    input: Option<PathBuf>,
}

impl Project {
    fn new(dockerfile: &str, files: &[(&str, &str)]) -> Project {
        let kiln = Kiln::new();
        let context = kiln.context(dockerfile);
        write(&context, files);
        Project { kiln, input: None }
    }

    fn context(&self) -> PathBuf {
        self.kiln.path("context")
    }

    fn directory(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.kiln.path(name);
        write(&directory, files);
        directory
    }

    /// Makes an archive of the context, compressed by `program`.
    fn archive(&self, program: &[&str]) -> PathBuf {
        let plain = self.kiln.path("context.tar");
        stdout_of(
            Command::new("tar")
                .args(["--numeric-owner", "-cf"])
                .arg(&plain)
                .arg("-C")
                .arg(self.context())
                .arg("."),
        );
        let path = self.kiln.path(&format!("context.tar.{}", program[0]));
        let mut compress = Command::new(program[0]);
        compress
            .args(&program[1..])
            .stdin(File::open(&plain).unwrap());
        let status = compress.stdout(File::create(&path).unwrap()).status();
        assert!(status.unwrap().success());
        path
    }

    /// Pipes the file `path` into what is built next.
    fn with_input(mut self, path: PathBuf) -> Project {
        self.input = Some(path);
        self
    }

    fn try_build(&self, context: &str, arguments: &[&str]) -> Ran {
        let out = self.kiln.path("out");
        let _ = fs::remove_dir_all(&out);
        let mut command = self.kiln.command();
        command
            .current_dir(self.kiln.path("."))
            .args(["build", "--progress=plain", "-o"])
            .arg(&out)
            .args(arguments)
            .arg(context);
        match &self.input {
            Some(path) => command.stdin(File::open(path).unwrap()),
            None => command.stdin(Stdio::null()),
        };
        Ran::from(command)
    }

    /// Builds, and returns the names of the files that come of it.
    fn build(&self, context: &str, arguments: &[&str]) -> Vec<String> {
        self.try_build(context, arguments).succeeded();
        self.names()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.kiln.path("out")).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    fn content(&self, path: &str) -> String {
        fs::read_to_string(self.kiln.path("out").join(path)).unwrap()
    }
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(directory).unwrap();
    for (path, content) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A server of these files.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> WebServer {
    WebServer::start(
        move |request| match files.iter().find(|(path, _)| *path == request.path) {
            Some((_, content)) => WebReply::body(content.clone())
                .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            None => WebReply::status(404),
        },
    )
}

#[test]
fn archives_on_standard_input_are_contexts_whatever_compresses_them() {
    if !needs::met(NEEDS) {
        return;
    }
    for program in COMPRESSIONS {
        let project = Project::new(COPY_ALL, &[("a", "1"), (".dockerignore", "a\n")]);
        let archive = project.archive(program);
        let project = project.with_input(archive);
        // The ignore file of an archive does not count.
        let expected = [".dockerignore", "Dockerfile", "a"];
        assert_eq!(project.build("-", &[]), expected, "{program:?}");
    }
}

#[test]
fn dockerfile_of_an_archive_may_have_any_name() {
    if !needs::met(NEEDS) {
        return;
    }
    let other = "FROM scratch\nCOPY a /named\n";
    let project = Project::new("no", &[("a", "1"), ("sub/other", other)]);
    let archive = project.archive(&["cat"]);
    let project = project.with_input(archive);
    assert_eq!(project.build("-", &["-f", "sub/other"]), ["named"]);
    project
        .try_build("-", &["-f", "nothing"])
        .failed_saying(DOCKERFILE, &["no file nothing in standard input", "hint:"]);
    project
        .try_build("-", &["-f", "-"])
        .failed_saying(USAGE, &["cannot be both"]);
    let project = Project::new("FROM scratch\nCOPPY\n", &[]);
    let archive = project.archive(&["gzip"]);
    project
        .with_input(archive)
        .try_build("-", &[])
        .failed_saying(DOCKERFILE, &["standard input:Dockerfile:2:1", "`COPY`"]);
}

#[test]
fn archive_gives_the_files_that_docker_makes_of_it() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let project = Project::new(
        COPY_ALL,
        &[("a", "1"), ("ignored", ""), (".dockerignore", "i*")],
    );
    std::os::unix::fs::chown(project.context().join("a"), Some(5), Some(6)).unwrap();
    let archive = project.archive(&["gzip"]);
    let theirs = project.kiln.path("theirs.tar");
    let mut build = docker().client();
    build
        .args(["build", "--output"])
        .arg(format!("type=tar,dest={}", theirs.display()))
        .arg("-")
        .stdin(File::open(&archive).unwrap());
    stdout_of(&mut build);
    let project = project.with_input(archive);
    let ours = project.kiln.path("ours.tar");
    let output = format!("type=tar,dest={}", ours.display());
    project.try_build("-", &["-o", &output]).succeeded();
    let list = |path: &Path| {
        let listing = stdout_of(
            Command::new("tar")
                .args(["--numeric-owner", "-tvf"])
                .arg(path),
        );
        let mut lines: Vec<String> = listing.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.ends_with('/'));
        lines.sort();
        lines
    };
    assert_eq!(list(&ours), list(&theirs));
    assert!(list(&ours).iter().any(|line| line.contains(" 5/6 ")));
}

#[test]
fn dockerfile_on_standard_input_takes_a_directory_or_nothing() {
    let project = Project::new("no", &[("a", "1"), ("b", "2"), (".dockerignore", "b\n")]);
    let dockerfile = project.kiln.path("piped");
    fs::write(&dockerfile, "FROM scratch\nCOPY * /\n").unwrap();
    let project = project.with_input(dockerfile);
    let expected = [".dockerignore", "Dockerfile", "a"];
    assert_eq!(project.build("context", &["-f", "-"]), expected);
    project
        .try_build("-", &[])
        .failed_saying(1, &["build context", "was not given"]);
    let project = project.with_input("/dev/null".into());
    project
        .try_build("-", &[])
        .failed_saying(DOCKERFILE, &["standard input is empty", "hint:"]);
}

#[test]
fn places_without_a_dockerfile_are_told_apart() {
    let project = Project::new("FROM scratch\nCOPY a /\n", &[("a", "1")]);
    let context = project.context();
    let dockerfile = context.join("Dockerfile");
    fs::rename(&dockerfile, context.join("dockerfile")).unwrap();
    assert_eq!(project.build("context", &[]), ["a"]);
    fs::remove_file(context.join("dockerfile")).unwrap();
    let refused = |part: &str| {
        let ran = project.try_build("context", &[]);
        ran.failed_saying(DOCKERFILE, &[part, "context", "hint:"]);
    };
    refused("there is no Dockerfile in context");
    fs::create_dir(&dockerfile).unwrap();
    refused("`Dockerfile` is a directory");
    fs::remove_dir(&dockerfile).unwrap();
    stdout_of(Command::new("mkfifo").arg(&dockerfile));
    refused("is a named pipe, not a regular file");
    fs::remove_file(&dockerfile).unwrap();
    let outside = project.kiln.path("outside");
    fs::write(&outside, COPY_ALL).unwrap();
    std::os::unix::fs::symlink("../outside", &dockerfile).unwrap();
    refused("it is a link to nothing in the context");
    project.try_build("context", &["-f", "outside"]).succeeded();
    fs::remove_file(&dockerfile).unwrap();
    let large = File::create(&dockerfile).unwrap();
    large.set_len(17 << 20).unwrap();
    refused("is larger than");
    for (context, part) in [
        ("outside", "not a directory"),
        ("nowhere", "No such file"),
        ("s3://bucket/x", "no contexts of this kind"),
        ("https://example.com/a.git?what=1", "no option `what`"),
    ] {
        let ran = project.try_build(context, &[]);
        ran.failed_saying(USAGE, &["cannot use the build context", part]);
    }
}

#[test]
fn wrong_ignore_files_are_named_with_their_line() {
    let project = Project::new(COPY_ALL, &[("a", "1"), (".dockerignore", "a\n\n!\n")]);
    let said = &["context/.dockerignore, line 3", "nothing after `!`"];
    project
        .try_build("context", &[])
        .failed_saying(DOCKERFILE, said);
    // One of the Dockerfile's own goes before it.
    write(
        &project.context(),
        &[("Dockerfile.dockerignore", "Dock*\n.dock*\n")],
    );
    assert_eq!(project.build("context", &[]), ["a"]);
}

#[test]
fn named_directories_replace_stages_and_have_ignore_files_of_their_own() {
    let dockerfile =
        "FROM nothing-of-the-kind AS assets\nRUN never\n\nFROM assets\nCOPY --from=more . /more/\n";
    let project = Project::new(dockerfile, &[]);
    project.directory(
        "assets",
        &[("a", "1"), ("b", ""), (".dockerignore", "b\n.d*")],
    );
    project.directory("more", &[("c", "2")]);
    let contexts = [
        "--build-context=assets=assets",
        "--build-context=more=./more",
    ];
    assert_eq!(project.build("context", &contexts), ["a", "more"]);
    assert_eq!(project.content("more/c"), "2");
    let ran = project.try_build(
        "context",
        &[&contexts[..], &["--build-context=typo=more"]].concat(),
    );
    assert!(ran.stderr.contains("`typo` is given, but nothing names it"));
    fs::write(project.kiln.path("assets/a"), "changed").unwrap();
    project.build("context", &contexts);
    assert_eq!(project.content("a"), "changed");
    for (context, part) in [
        ("context=more", "reserved"),
        ("a=target:b", "another target"),
        ("a=nowhere", "No such file"),
        ("a=oci-layout://more", "no OCI image layout"),
        ("a", "NAME="),
    ] {
        let argument = format!("--build-context={context}");
        let ran = project.try_build("context", &[&argument]);
        assert!(ran.code.is_some_and(|code| code != 0));
        assert!(ran.stderr.contains(part), "{}", ran.description());
    }
}

#[test]
fn images_of_layouts_are_bases_without_any_registry() {
    let project = Project::new("FROM base\nCOPY b /\n", &[("b", "2")]);
    let source = project.directory(
        "source",
        &[
            ("Dockerfile", "FROM scratch\nCOPY a /\nENV A=1\n"),
            ("a", "1"),
        ],
    );
    for (format, layout) in [("tar=false,", "layout"), ("", "layout.tar")] {
        let output = format!(
            "type=oci,{format}dest={}",
            project.kiln.path(layout).display()
        );
        let mut command = project.kiln.command();
        // A store of its own: nothing may come from there.
        command
            .env("KILN_ROOT", project.kiln.path("other-store"))
            .args(["build", "-t", "app:1", "-o", &output])
            .arg(&source);
        Ran::from(command).succeeded();
        for name in ["", ":1"] {
            let context = format!("--build-context=base=oci-layout://{layout}{name}");
            assert_eq!(
                project.build("context", &[&context]),
                ["a", "b"],
                "{context}"
            );
        }
    }
    project
        .try_build("context", &["--build-context=base=oci-layout://layout:2"])
        .failed_saying(
            4,
            &[
                "cannot use the build context `base`",
                "no image `2`; it has 1",
            ],
        );
    let digest = format!("sha256:{}", "0".repeat(64));
    let context = format!("--build-context=base=oci-layout://layout@{digest}");
    let ran = project.try_build("context", &[&context]);
    assert!(ran.stderr.contains(&digest), "{}", ran.description());
}

#[test]
fn images_of_registries_replace_images() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM nobody/has-this:1\nRUN test -e /etc/debian_version\n");
    let named = format!("--build-context=nobody/has-this:1=docker-image://{BASE_NAME}");
    kiln.build(&context, &[&named]);
}

#[test]
fn archives_and_dockerfiles_are_fetched_from_the_web() {
    if !needs::met(NEEDS) {
        return;
    }
    let project = Project::new(
        COPY_ALL,
        &[("a", "1"), ("sub/other", "FROM scratch\nCOPY a /x\n")],
    );
    let server = serve(vec![
        (
            "/context.tgz",
            fs::read(project.archive(&["gzip"])).unwrap(),
        ),
        (
            "/Dockerfile",
            b"FROM scratch\nCOPY context /itself\n".to_vec(),
        ),
        ("/other", b"FROM scratch\nCOPY a /\n".to_vec()),
        ("/bad", b"FROM scratch\nCOPPY\n".to_vec()),
    ]);
    let archive = server.url("/context.tgz");
    assert_eq!(project.build(&archive, &[]), ["Dockerfile", "a", "sub"]);
    assert_eq!(project.build(&archive, &["-f", "sub/other"]), ["x"]);
    assert_eq!(project.build(&server.url("/Dockerfile"), &[]), ["itself"]);
    assert_eq!(
        project.build("context", &["-f", &server.url("/other")]),
        ["a"]
    );
    let bad = server.url("/bad");
    let place = format!("{bad}:2:1");
    project
        .try_build(&bad, &[])
        .failed_saying(DOCKERFILE, &[&place]);
    let ran = project.try_build(&server.url("/none"), &[]);
    assert!(ran.stderr.contains("404"), "{}", ran.description());
    // A named context that is fetched is the file.
    write(
        &project.context(),
        &[("Dockerfile", "FROM scratch\nCOPY --from=web context /\n")],
    );
    let named = format!("--build-context=web={}", server.url("/other"));
    assert_eq!(project.build("context", &[&named]), ["context"]);
}

#[test]
fn git_repositories_are_contexts_by_reference_and_directory() {
    if !needs::met(GIT) {
        return;
    }
    let project = Project::new("FROM scratch\nCOPY --from=source . /\n", &[]);
    let root = project.kiln.path("served");
    fs::create_dir(&root).unwrap();
    let mut repository = TestRepository::new(&root, "app");
    repository.commit(&[
        ("Dockerfile", COPY_ALL),
        ("a", "1"),
        (".dockerignore", "a\n"),
    ]);
    repository.git(&["tag", "v1"]);
    repository.commit(&[("a", "2"), ("sub/Dockerfile", COPY_ALL), ("sub/b", "3")]);
    let server = serve_http(&root, None);
    let url = server.url("/app.git");
    let first = [".dockerignore", "Dockerfile", "a"];
    assert_eq!(project.build(&format!("{url}#v1"), &[]), first);
    assert_eq!(project.content("a"), "1");
    project.build(&url, &[]);
    assert_eq!(project.content("a"), "2");
    assert_eq!(
        project.build(&format!("{url}#main:sub"), &[]),
        ["Dockerfile", "b"]
    );
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    assert!(project.build(&url, &keep).contains(&".git".to_owned()));
    for fragment in ["#nope", "#main:nope", "#main:sub/../.."] {
        let ran = project.try_build(&format!("{url}{fragment}"), &[]);
        assert!(ran.code.is_some_and(|code| code != 0), "{fragment}");
        assert!(!ran.stderr.contains("panicked"), "{}", ran.description());
    }
    let named = format!("--build-context=source={url}#v1");
    assert_eq!(project.build("context", &[&named]), first);
    // The time of the commit stands for all times.
    let created = |arguments: &[&str]| {
        let arguments = [&["-t", "app"], arguments].concat();
        let ran = project.try_build(&format!("{url}#v1"), &arguments);
        ran.succeeded();
        project.kiln.run(&["inspect", "app"])
    };
    let time = "2020-09-13T12:26:40Z";
    assert_eq!(FIRST_COMMIT_SECONDS, 1_600_000_000);
    for arguments in [&[][..], &["--build-arg", "SOURCE_DATE_EPOCH=context"]] {
        let shown = created(arguments);
        assert!(shown.contains(time), "{arguments:?}: {shown}");
    }
    let shown = created(&["--build-arg", "SOURCE_DATE_EPOCH="]);
    assert!(!shown.contains(time), "{shown}");
}

#[test]
fn flags_of_docker_are_taken_noted_or_refused() {
    let project = Project::new(COPY_ALL, &[]);
    let ran = project.try_build(
        "context",
        &["--rm", "--pull=false", "--provenance=false", "-q=0"],
    );
    let ran = ran.succeeded();
    assert!(
        ran.stderr.contains("note: --rm has no effect"),
        "{}",
        ran.description()
    );
    for flags in ["--sbom=true", "--attest=type=sbom"] {
        let ran = project.try_build("context", &[flags]);
        ran.failed_saying(USAGE, &["is not supported", "hint:"]);
    }
    let key = project.kiln.path("key");
    fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----").unwrap();
    let keys = format!("--ssh=id={}", key.display());
    project
        .try_build("context", &[&keys])
        .failed_saying(USAGE, &["keys", "ssh-add"]);
}
