//! ADD of what lies elsewhere: files of the web, git repositories.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use kiln_testdata::archive::{ArchivedImage, read_docker_archive};
use kiln_testdata::git::{FIRST_COMMIT_SECONDS, TestRepository, serve_http};
use kiln_testdata::needs::{Need, PEERS, met};
use kiln_testdata::ssh::SshServer;
use kiln_testdata::table::Kind;
use kiln_testdata::web::{WebReply, WebServer};

use crate::harness::{Kiln, Ran, docker};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const DATE_SECONDS: i64 = 784_111_777;
const NEEDS: &[Need] = &[Need::Root, Need::Program("git"), Need::Program("tar")];

/// Builds `dockerfile` with `arguments`; returns what was said and the files.
fn build(kiln: &Kiln, dockerfile: &str, arguments: &[&str]) -> (Ran, PathBuf) {
    let context = kiln.context(dockerfile);
    let out = kiln.path("out");
    let _ = fs::remove_dir_all(&out);
    let mut command = kiln.command();
    command
        .args(["build", "--progress=plain", "-o"])
        .arg(&out)
        .args(arguments)
        .arg(context);
    (Ran::from(command), out)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

/// A server of one file that can be changed, which knows ETags.
struct OneFile {
    server: WebServer,
    content: Arc<Mutex<Vec<u8>>>,
}

impl OneFile {
    fn new(content: &[u8]) -> Self {
        let content = Arc::new(Mutex::new(content.to_vec()));
        let shared = Arc::clone(&content);
        let server = WebServer::start(move |request| {
            let content = shared.lock().expect("content").clone();
            let etag = format!("\"{}\"", kiln_oci::Digest::sha256(&content).hex());
            if request.path == "/none" {
                return WebReply::status(404);
            }
            match request.header("if-none-match") {
                Some(known) if known == etag => WebReply::status(304),
                _ => WebReply::body(content)
                    .header("etag", etag)
                    .header("last-modified", DATE),
            }
        });
        OneFile { server, content }
    }

    fn url(&self, path: &str) -> String {
        self.server.url(path)
    }
}

#[test]
fn file_is_fetched_once_and_asked_for_in_each_build() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let file = OneFile::new(b"one");
    let dockerfile = format!(
        "FROM scratch\nADD {} /a/\nADD {} /b/renamed\n",
        file.url("/dir/file.txt?x=y"),
        file.url("/dir/file.txt?x=y")
    );
    let (_, out) = build(&kiln, &dockerfile, &[]);
    assert_eq!(fs::read(out.join("a/file.txt")).expect("the file"), b"one");
    assert_eq!(mode(&out.join("a/file.txt")), 0o600);
    assert_eq!(
        fs::metadata(out.join("b/renamed"))
            .expect("the file")
            .mtime(),
        DATE_SECONDS
    );
    assert_eq!(file.server.take_requests().len(), 1);
    let (ran, _) = build(&kiln, &dockerfile, &[]);
    assert_eq!(ran.succeeded().executed_steps(), 0);
    let requests = file.server.take_requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].header("if-none-match").is_some());
    *file.content.lock().expect("content") = b"two".to_vec();
    let (_, out) = build(&kiln, &dockerfile, &[]);
    assert_eq!(fs::read(out.join("a/file.txt")).expect("the file"), b"two");
    kiln.run(&["store", "verify"]);
}

#[test]
fn pinned_file_needs_no_network_once_it_is_there() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let file = OneFile::new(b"one");
    let digest = kiln_oci::Digest::sha256(b"one");
    let dockerfile = format!(
        "FROM scratch\nADD --checksum={digest} {} /a\n",
        file.url("/f")
    );
    build(&kiln, &dockerfile, &[]).0.succeeded();
    assert_eq!(file.server.take_requests().len(), 1);
    build(&kiln, &dockerfile, &[]).0.succeeded();
    // The same content under another name of the image.
    build(&kiln, &dockerfile.replace(" /a", " /b"), &[])
        .0
        .succeeded();
    assert_eq!(file.server.take_requests().len(), 0);
    let other = kiln_oci::Digest::sha256(b"other");
    let wrong = format!(
        "FROM scratch\nADD --checksum={other} {} /a\n",
        file.url("/f")
    );
    let expected = [other.as_str(), digest.as_str(), "wrong content"];
    build(&kiln, &wrong, &[]).0.failed_saying(1, &expected);
}

#[test]
fn fetched_files_are_unpacked_owned_and_linked_as_asked() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("tree")).expect("a directory");
    fs::write(kiln.path("tree/inner"), "inner").expect("a file");
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(kiln.path("tree"))
        .args(["-czf", "-", "inner"]);
    let archive = tar.output().expect("tar").stdout;
    let file = OneFile::new(&archive);
    let url = file.url("/a.tgz");
    let dockerfile = format!(
        "FROM scratch AS local\nCOPY Dockerfile /local\n\
         FROM scratch\nADD {url} /plain/\nADD --unpack=true {url} /unpacked/\n\
         ADD --chmod=0755 --chown=7:8 {url} /owned\n\
         ADD --link {url} Dockerfile /linked/\n"
    );
    let (ran, out) = build(&kiln, &dockerfile, &[]);
    ran.succeeded();
    assert_eq!(
        fs::read(out.join("plain/a.tgz")).expect("the file"),
        archive
    );
    assert_eq!(
        fs::read(out.join("unpacked/inner")).expect("the file"),
        b"inner"
    );
    assert_eq!(
        fs::read(out.join("linked/a.tgz")).expect("the file"),
        archive
    );
    assert!(out.join("linked/Dockerfile").is_file());
    let owned = fs::metadata(out.join("owned")).expect("the file");
    assert_eq!(
        (owned.uid(), owned.gid(), mode(&out.join("owned"))),
        (7, 8, 0o755)
    );
}

#[test]
fn repository_is_checked_out_and_its_commit_is_the_key() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    let first = repository.commit(&[("file", "one"), ("sub/dir/x", "x")]);
    let server = serve_http(&kiln.path("served"), None);
    let remote = server.url("/a.git");
    let dockerfile = format!(
        "FROM scratch\nADD {remote}#main:sub /sub/\nADD {remote} /all\n\
         ADD --keep-git-dir=true {remote}?mtime=commit /kept\n"
    );
    let (ran, out) = build(&kiln, &dockerfile, &[]);
    ran.succeeded();
    assert_eq!(fs::read(out.join("all/file")).expect("the file"), b"one");
    assert!(!out.join("all/.git").exists());
    assert!(out.join("sub/dir/x").is_file() && out.join("kept/.git/HEAD").is_file());
    assert_eq!(mode(&out.join("all/file")), 0o644);
    let committed = fs::metadata(out.join("kept/file"))
        .expect("the file")
        .mtime();
    assert_eq!(committed, FIRST_COMMIT_SECONDS);
    server.take_requests();
    let (ran, _) = build(&kiln, &dockerfile, &[]);
    assert_eq!(ran.succeeded().executed_steps(), 0);
    let is_fetch = |request: &kiln_testdata::web::WebRequest| {
        String::from_utf8_lossy(&request.body).contains("command=fetch")
    };
    assert!(!server.take_requests().iter().any(is_fetch));
    repository.commit(&[("file", "two")]);
    let (ran, out) = build(&kiln, &dockerfile, &[]);
    assert_eq!(fs::read(out.join("all/file")).expect("the file"), b"two");
    // The directory is the same: what was made of it is found by its content.
    assert!(ran.cached_steps() > 0, "{}", ran.description());
    server.take_requests();
    let pinned = format!("FROM scratch\nADD --checksum={first} {remote}#{first} /all\n");
    let (ran, out) = build(&kiln, &pinned, &[]);
    ran.succeeded();
    assert_eq!(fs::read(out.join("all/file")).expect("the file"), b"one");
    assert_eq!(server.take_requests().len(), 0);
    kiln.run(&["store", "verify"]);
}

#[test]
fn remote_errors_say_what_and_what_to_do() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    let first = repository.commit(&[("file", "one")]);
    let second = repository.commit(&[("file", "two")]);
    let server = serve_http(&kiln.path("served"), None);
    let remote = server.url("/a.git");
    let file = OneFile::new(b"one");
    let wrong_commit = format!("--checksum={first} {remote}#main");
    let cases: Vec<(String, Vec<&str>)> = vec![
        (
            file.url("/none"),
            vec!["cannot fetch http://127.0.0.1", "404 Not Found"],
        ),
        ("http://127.0.0.1:1/x".into(), vec!["cannot connect"]),
        (
            "http://does-not-exist.invalid/x".into(),
            vec!["no address is known"],
        ),
        (
            file.url("/f").replace("http:", "https:"),
            vec!["cannot connect"],
        ),
        (
            format!("{remote}#mian"),
            vec!["no branch, tag or commit `mian`", "did you mean `main`?"],
        ),
        (
            format!("{remote}#main:none"),
            vec!["`none` is not a directory in", &second],
        ),
        (wrong_commit, vec!["wrong commit", &first, &second]),
        (server.url("/none.git"), vec!["not found"]),
    ];
    for (source, expected) in cases {
        let (ran, _) = build(&kiln, &format!("FROM scratch\nADD {source} /x\n"), &[]);
        let ran = ran.failed_saying(1, &expected);
        assert!(ran.stderr.contains("Dockerfile:2"), "{}", ran.description());
    }
    let context = kiln.context(&format!("FROM scratch\nADD {remote} /x\n"));
    let mut command = kiln.command();
    command.env("PATH", "/nowhere").args(["build"]).arg(context);
    Ran::from(command).failed_saying(1, &["`git` is not installed", "apt-get install git"]);
}

#[test]
fn secrets_are_shown_to_their_host_and_kept_nowhere() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    repository.commit(&[("file", "one")]);
    // The base64 form of `x-access-token:sekret-token`.
    let header = "Basic eC1hY2Nlc3MtdG9rZW46c2VrcmV0LXRva2Vu";
    let server = serve_http(&kiln.path("served"), Some(header));
    let files = WebServer::start(|request| match request.header("authorization") {
        Some("Bearer sekret-file") => WebReply::body("file"),
        _ => WebReply::status(403),
    });
    fs::write(kiln.path("token"), "sekret-token\n").expect("a file");
    fs::write(kiln.path("bearer"), "sekret-file").expect("a file");
    let dockerfile = format!(
        "FROM scratch\nADD {} /git\nADD {} /file\n",
        server.url("/a.git"),
        files.url("/x")
    );
    let git_secret = format!("id=GIT_AUTH_TOKEN.{},src=token", server.address());
    let file_secret = format!("id=HTTP_AUTH_TOKEN_{},src=bearer", files.address());
    let secret = |text: &str| text.replace("src=", &format!("src={}/", kiln.path("").display()));
    let (git_secret, file_secret) = (secret(&git_secret), secret(&file_secret));
    let (ran, _) = build(&kiln, &dockerfile, &["--secret", &file_secret]);
    ran.failed_saying(1, &["asks for credentials", "--secret"]);
    let (ran, _) = build(&kiln, &dockerfile, &["--secret", &git_secret]);
    ran.failed_saying(1, &["403 Forbidden"]);
    let arguments = [
        "--secret",
        &git_secret,
        "--secret",
        &file_secret,
        "-t",
        "example:1",
    ];
    let (ran, out) = build(&kiln, &dockerfile, &arguments);
    let ran = ran.succeeded();
    assert_eq!(fs::read(out.join("file")).expect("the file"), b"file");
    assert!(!ran.stderr.contains("sekret"), "{}", ran.description());
    let mut grep = Command::new("grep");
    grep.args(["-rlE", "sekret|eC1hY2Nlc3"]).arg(kiln.root());
    let found = grep.output().expect("grep").stdout;
    assert_eq!(String::from_utf8_lossy(&found), "");
}

#[test]
fn repositories_are_fetched_by_ssh_with_the_agent_that_was_given() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    repository.commit(&[("file", "one")]);
    // Stands for ssh: notes what it was called with, and serves from here.
    let programs = kiln.path("programs");
    fs::create_dir(&programs).expect("a directory");
    let script = format!(
        "#!/bin/sh\necho \"agent=$SSH_AUTH_SOCK $*\" >> {0}/called\n\
         [ -n \"$SSH_AUTH_SOCK\" ] || {{ echo 'git@host: Permission denied (publickey).' >&2; exit 255; }}\n\
         for last; do :; done\ncd {1} && exec sh -c \"$last\"\n",
        kiln.path("").display(),
        kiln.path("served").display(),
    );
    let ssh = programs.join("ssh");
    fs::write(&ssh, script).expect("a program");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("a mode");
    let agent = kiln.path("agent");
    let _socket = std::os::unix::net::UnixListener::bind(&agent).expect("a socket");
    let context = kiln.context("FROM scratch\nADD git@host.example:a.git#main /x\n");
    let path = std::env::var("PATH").unwrap_or_default();
    let build = |arguments: &[String]| {
        let mut command = kiln.command();
        command.env("PATH", format!("{}:{path}", programs.display()));
        command
            .args(["build", "--progress=plain"])
            .args(arguments)
            .arg(&context);
        Ran::from(command)
    };
    build(&[]).failed_saying(1, &["Permission denied (publickey)", "--ssh default"]);
    build(&["--ssh".into(), format!("default={}", agent.display())]).succeeded();
    let called = fs::read_to_string(kiln.path("called")).expect("the calls");
    let last = called.lines().last().expect("a call");
    assert!(
        last.starts_with(&format!("agent={}", agent.display())),
        "{last}"
    );
    for part in [
        "-F /dev/null",
        "StrictHostKeyChecking=accept-new",
        "BatchMode=yes",
    ] {
        assert!(last.contains(part), "{last}");
    }
}

#[test]
fn time_of_the_build_is_that_of_what_is_named() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    repository.commit(&[("Dockerfile", "FROM scratch\nCOPY Dockerfile /file\n")]);
    let server = serve_http(&kiln.path("served"), None);
    let file = OneFile::new(b"one");
    let remote = server.url("/a.git");
    let dockerfile = format!(
        "FROM scratch AS checkout\nADD {remote} /\nFROM scratch AS download\nADD {} /\n\
         FROM scratch\nCOPY Dockerfile /file\n",
        file.url("/f")
    );
    let time = |ran: Ran, out: &Path| {
        ran.succeeded();
        fs::metadata(out.join("file")).expect("the file").mtime()
    };
    for (name, expected) in [
        ("checkout", FIRST_COMMIT_SECONDS),
        ("download", DATE_SECONDS),
        ("12345", 12345),
    ] {
        let argument = format!("--build-arg=SOURCE_DATE_EPOCH={name}");
        let (ran, out) = build(&kiln, &dockerfile, &[&argument]);
        assert_eq!(time(ran, &out), expected, "{name}");
        let written = format!("ARG SOURCE_DATE_EPOCH={name}\n{dockerfile}");
        let (ran, out) = build(&kiln, &written, &[]);
        assert_eq!(time(ran, &out), expected, "{name}");
    }
    let context = format!("--build-context=src={remote}");
    let arguments = [&context, "--build-arg=SOURCE_DATE_EPOCH=src"];
    let (ran, out) = build(&kiln, &dockerfile, &arguments);
    assert_eq!(time(ran, &out), FIRST_COMMIT_SECONDS);
    server.take_requests();
    let out = kiln.path("of-context");
    let mut command = kiln.command();
    command
        .args(["build", "--build-arg=SOURCE_DATE_EPOCH=context", "-o"])
        .arg(&out)
        .arg(&remote);
    assert_eq!(time(Ran::from(command), &out), FIRST_COMMIT_SECONDS);
    // Asked once, although the Dockerfile, the time and the files come from there.
    let is_listing = |request: &kiln_testdata::web::WebRequest| {
        String::from_utf8_lossy(&request.body).contains("command=ls-refs")
    };
    let requests = server.take_requests();
    let listings = requests.iter().filter(|request| is_listing(request));
    assert_eq!(listings.count(), 1);
    let (ran, _) = build(
        &kiln,
        &dockerfile,
        &["--build-arg=SOURCE_DATE_EPOCH=context"],
    );
    ran.failed_saying(3, &["SOURCE_DATE_EPOCH", "`context`", "no time of its own"]);
}

/// Returns what both builders make of `context`; the engine calls it `name`.
fn both(kiln: &Kiln, name: &str, context: &str) -> [ArchivedImage; 2] {
    let ours = kiln.path("kiln.tar");
    let output = format!("type=docker,dest={}", ours.display());
    let mut command = kiln.command();
    command.args(["build", "--progress=plain", "--output", &output, context]);
    Ran::from(command).succeeded();
    let theirs = kiln.path("docker.tar");
    docker().build(Path::new(context), &[], name);
    docker().save(name, &theirs);
    [read_docker_archive(&ours), read_docker_archive(&theirs)]
}

#[test]
fn docker_makes_the_same_of_fetched_files() {
    if !met(PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let file = OneFile::new(b"one");
    let untimed = WebServer::start(|_| WebReply::body("untimed"));
    let dockerfile = format!(
        "FROM scratch\nCOPY Dockerfile /there\nWORKDIR /work\n\
         ADD {0} /dir/\nADD {0} /renamed\nADD {0} relative/path\nADD {0} /there\n\
         ADD --chown=5:6 {0} /owned/\nADD --chown=7 {0} /user\n\
         ADD {0} {1} Dockerfile /several/\nADD {2} /unnamed\nADD {1} .\n",
        file.url("/a/f%20x.tar.gz?query=1"),
        untimed.url("/untimed"),
        file.url("/"),
    );
    let context = kiln.context(&dockerfile);
    let [ours, theirs] = both(&kiln, "fetched-files", &context.display().to_string());
    let files = |image: &ArchivedImage| -> Vec<String> {
        let is_fetched = |path: &str| !path.is_empty() && !path.ends_with("Dockerfile");
        let lines = image.tree.iter().map(|(path, file)| {
            let path = path.display().to_string();
            // Directories are made in the course of the build.
            let seconds = match file.row.kind {
                Kind::Directory => 0,
                _ => file.modified,
            };
            (
                is_fetched(&path),
                format!("{path} {:?} {seconds}", file.row),
            )
        });
        lines.filter(|(is, _)| *is).map(|(_, line)| line).collect()
    };
    assert_eq!(files(&ours), files(&theirs));
    assert_eq!(
        kiln_testdata::image::comparable_config(&ours.config),
        kiln_testdata::image::comparable_config(&theirs.config)
    );
}

#[test]
fn docker_makes_the_same_of_a_repository() {
    if !met(PEERS) || !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    let work = repository.work().to_owned();
    fs::create_dir(work.join("sub")).expect("a directory");
    fs::write(work.join("sub/run"), "#!/bin/sh\n").expect("a program");
    fs::set_permissions(work.join("sub/run"), fs::Permissions::from_mode(0o777)).expect("a mode");
    std::os::unix::fs::symlink("../x", work.join("sub/link")).expect("a link");
    repository.commit(&[("Dockerfile", "FROM scratch\nCOPY . /all/\n"), ("x", "x")]);
    repository.git(&["tag", "-a", "-m", "release", "v1"]);
    repository.publish();
    let server = serve_http(&kiln.path("served"), None);
    for suffix in ["#main", "#v1"] {
        let context = server.url(&format!("/a.git{suffix}"));
        let [ours, theirs] = both(&kiln, "fetched-repository", &context);
        let files = |image: &ArchivedImage| -> Vec<String> {
            let files = image.tree.iter();
            files
                .map(|(path, file)| format!("{} {:?}", path.display(), file.row))
                .collect()
        };
        assert_eq!(files(&ours), files(&theirs), "{suffix}");
    }
}

#[test]
fn ssh_host_is_believed_once_and_must_stay_the_same() {
    let programs = ["sshd", "ssh-agent", "ssh-keygen"].map(Need::Program);
    if !met(NEEDS) || !met(&programs) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    fs::create_dir(kiln.path("ssh")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    repository.commit(&[("file", "one")]);
    let mut server = SshServer::start(&kiln.path("ssh"));
    let remote = server.url(repository.path());
    let dockerfile = format!("FROM scratch\nADD {remote} /x\n");
    let agent = format!("default={}", server.agent().display());
    let (ran, _) = build(&kiln, &dockerfile, &[]);
    ran.failed_saying(1, &["asks for credentials", "--ssh default"]);
    let (ran, out) = build(&kiln, &dockerfile, &["--ssh", &agent]);
    ran.succeeded();
    assert_eq!(fs::read(out.join("x/file")).expect("the file"), b"one");
    server.change_host_key();
    let (ran, _) = build(&kiln, &dockerfile, &["--ssh", &agent]);
    ran.failed_saying(1, &["is not trusted", "known_hosts"]);
    kiln.run(&["prune", "--all", "--force"]);
    kiln.run(&["store", "verify"]);
    let (ran, _) = build(&kiln, &dockerfile, &["--ssh", &agent]);
    ran.failed_saying(1, &["is not trusted"]);
}

#[test]
fn two_builds_at_once_fetch_each_thing_once() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    repository.commit(&[("file", "one")]);
    let server = serve_http(&kiln.path("served"), None);
    let file = OneFile::new(&vec![b'x'; 1 << 20]);
    let dockerfile = format!(
        "FROM scratch\nADD {} /git\nADD {} /file\n",
        server.url("/a.git"),
        file.url("/f")
    );
    let context = kiln.context(&dockerfile);
    let builds = [1, 2].map(|_| {
        let mut command = kiln.command();
        command.args(["build", "--progress=plain"]).arg(&context);
        std::thread::spawn(move || Ran::from(command).succeeded())
    });
    for build in builds {
        build.join().expect("a build");
    }
    let is_fetch = |request: &&kiln_testdata::web::WebRequest| {
        String::from_utf8_lossy(&request.body).contains("command=fetch")
    };
    assert_eq!(server.take_requests().iter().filter(is_fetch).count(), 1);
    let asked = file.server.take_requests();
    let is_new =
        |request: &&kiln_testdata::web::WebRequest| request.header("if-none-match").is_none();
    assert_eq!(asked.iter().filter(is_new).count(), 1);
}

#[test]
fn passwords_in_addresses_are_used_and_shown_nowhere() {
    if !met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    fs::create_dir(kiln.path("served")).expect("a directory");
    let mut repository = TestRepository::new(&kiln.path("served"), "a");
    repository.commit(&[("file", "one")]);
    // The base64 form of `user:sekret`.
    let header = "Basic dXNlcjpzZWtyZXQ=";
    let server = serve_http(&kiln.path("served"), Some(header));
    let files = WebServer::start(move |request| {
        match (request.header("authorization"), request.path.as_str()) {
            (Some(given), "/x") if given == header => WebReply::body("file"),
            _ => WebReply::status(404),
        }
    });
    let with_user = |url: String| url.replace("http://", "http://user:sekret@");
    let dockerfile = format!(
        "FROM scratch\nADD --keep-git-dir=true {} /git\nADD {} /file\n",
        with_user(server.url("/a.git")),
        with_user(files.url("/x"))
    );
    let (ran, out) = build(&kiln, &dockerfile, &["-t", "example:1", "--explain"]);
    let ran = ran.succeeded();
    assert_eq!(fs::read(out.join("file")).expect("the file"), b"file");
    let (failed, _) = build(&kiln, &dockerfile.replace("/x /", "/none /"), &[]);
    let failed = failed.failed_saying(1, &["404", "xxxxx@"]);
    let inspected = kiln.run(&["inspect", "example:1"]);
    for said in [
        &ran.stderr,
        &failed.stderr,
        &inspected,
        &kiln.run(&["du", "--verbose"]),
    ] {
        assert!(
            !said.contains("sekret") && !said.contains("dXNlcjpzZWtyZXQ"),
            "{said}"
        );
    }
    for place in [kiln.root(), out] {
        let mut grep = Command::new("grep");
        let found = grep
            .args(["-rlE", "sekret|dXNlcjpzZWtyZXQ"])
            .arg(place)
            .output();
        assert_eq!(String::from_utf8_lossy(&found.expect("grep").stdout), "");
    }
}
