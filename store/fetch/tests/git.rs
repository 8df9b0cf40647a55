//! Checkouts from real servers.

use kiln_fetch::git::{CheckoutRequest, Git, Repositories, Repository, Times, Wanted};
use kiln_fetch::{Access, Credential, FetchError};
use kiln_testdata::git::{FIRST_COMMIT_SECONDS, GitDaemon, TestRepository, serve_http};
use kiln_testdata::needs::{Need, met};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

/// Keeps repositories in one directory, without locks.
struct Kept(PathBuf);

impl Repositories for Kept {
    fn enter(&self, name: &str) -> Result<Repository, FetchError> {
        let path = self.0.join(name.replace('/', "_"));
        std::fs::create_dir_all(&path).expect("a directory");
        Ok(Repository {
            path,
            guard: Box::new(()),
        })
    }
}

/// A place for repositories, what is kept of them, and what is checked out.
struct Bench {
    folder: TempDir,
    access: Access,
    told: Mutex<Vec<String>>,
    idle: Duration,
}

impl Bench {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a directory");
        for name in ["served", "kept", "scratch"] {
            std::fs::create_dir(folder.path().join(name)).expect("a directory");
        }
        met(&[Need::Program("git")]).then(|| Bench {
            folder,
            access: Access::default(),
            told: Mutex::default(),
            idle: Duration::from_secs(60),
        })
    }

    fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    fn run<T>(&self, work: impl FnOnce(&Git<'_>) -> T) -> T {
        let tell = |line: &str| self.told.lock().expect("lines").push(line.to_owned());
        work(&Git {
            access: &self.access,
            scratch: self.folder.path().join("scratch"),
            idle: self.idle,
            is_cancelled: &|| false,
            tell: &tell,
        })
    }

    fn resolve(&self, remote: &str, name: &str) -> Result<String, FetchError> {
        let wanted = Wanted {
            reference: (!name.is_empty()).then(|| name.to_owned()),
            checksum: None,
        };
        let resolved = self.run(|git| git.resolve(remote, &wanted))?;
        Ok(resolved.commit.unwrap_or_default())
    }

    fn check_out<'a>(
        &self,
        remote: &'a str,
        change: Change<'_, 'a>,
    ) -> Result<PathBuf, FetchError> {
        let mut request = CheckoutRequest {
            remote,
            commit: "",
            reference: None,
            subdirectory: None,
            keep_git_directory: false,
            submodules: true,
            times: Times::Checkout,
        };
        change(&mut request);
        let destination = tempfile::tempdir_in(self.folder.path())
            .expect("a directory")
            .keep();
        let kept = Kept(self.folder.path().join("kept"));
        self.run(|git| git.check_out(&kept, &request, &destination))?;
        Ok(destination)
    }
}

type Change<'f, 'a> = &'f dyn Fn(&mut CheckoutRequest<'a>);

/// Returns paths below `root` and what they are: `path mode content`.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path
                .strip_prefix(root)
                .expect("below")
                .display()
                .to_string();
            let metadata = path.symlink_metadata().expect("its metadata");
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                if name != ".git" {
                    directories.push(path);
                }
                lines.push(format!("{name}/ {mode:o}"));
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path).expect("a link");
                lines.push(format!("{name} -> {}", target.display()));
            } else {
                let content = std::fs::read_to_string(&path).expect("text");
                lines.push(format!("{name} {mode:o} {}", content.trim()));
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn branches_tags_and_commits_are_resolved_and_checked_out() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let first = repository.commit(&[("file", "one"), ("dir/run.sh", "#!/bin/sh")]);
    repository.git(&["tag", "plain"]);
    repository.git(&["tag", "-a", "-m", "release", "v1"]);
    let program = repository.work().join("dir/run.sh");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("a mode");
    std::os::unix::fs::symlink("dir/run.sh", repository.work().join("link")).expect("a link");
    let second = repository.commit(&[("file", "two")]);
    repository.git(&["branch", "feature/x", &first]);
    repository.publish();
    let server = serve_http(&bench.served(), None);
    let remote = server.url("/a.git");
    for (name, expected) in [
        ("", &second),
        ("main", &second),
        ("v1", &first),
        ("plain", &first),
        ("feature/x", &first),
        ("refs/tags/v1", &first),
        (&first[..9], &first),
    ] {
        assert_eq!(
            bench.resolve(&remote, name).expect("a commit"),
            *expected,
            "{name}"
        );
    }
    let files = bench
        .check_out(&remote, &|request| request.commit = &second)
        .expect("a checkout");
    let expected = [
        "dir/ 755",
        "dir/run.sh 755 #!/bin/sh",
        "file 644 two",
        "link -> dir/run.sh",
    ];
    assert_eq!(listing(&files), expected);
    let files = bench
        .check_out(&remote, &|request| request.commit = &first)
        .expect("a checkout");
    let expected = ["dir/ 755", "dir/run.sh 644 #!/bin/sh", "file 644 one"];
    assert_eq!(listing(&files), expected);
}

#[test]
fn commit_that_is_kept_is_not_fetched_again() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let commit = repository.commit(&[("file", "one")]);
    let server = serve_http(&bench.served(), None);
    let check_out = || bench.check_out(&server.url("/a.git"), &|request| request.commit = &commit);
    check_out().expect("a checkout");
    assert_ne!(server.take_requests().len(), 0);
    check_out().expect("a checkout");
    assert_eq!(server.take_requests().len(), 0);
    let told = bench.told.lock().expect("lines").clone();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn beginning_of_an_older_commit_is_found_in_all_of_the_history() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let first = repository.commit(&[("file", "one")]);
    repository.commit(&[("file", "two")]);
    let server = serve_http(&bench.served(), None);
    let remote = server.url("/a.git");
    assert_eq!(bench.resolve(&remote, &first[..8]).expect("an answer"), "");
    let files = bench
        .check_out(&remote, &|request| request.commit = &first[..8])
        .expect("a checkout");
    assert_eq!(listing(&files), ["file 644 one"]);
}

#[test]
fn unknown_names_are_errors_that_suggest_others() {
    let Some(bench) = Bench::new() else { return };
    TestRepository::new(&bench.served(), "empty");
    let mut repository = TestRepository::new(&bench.served(), "a");
    repository.commit(&[("file", "one")]);
    let server = serve_http(&bench.served(), None);
    let error = bench
        .resolve(&server.url("/a.git"), "mian")
        .expect_err("no such branch");
    let FetchError::UnknownReference { suggestion, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(suggestion.as_deref(), Some("main"));
    let error = bench
        .resolve(&server.url("/empty.git"), "")
        .expect_err("nothing there");
    assert!(
        matches!(error, FetchError::EmptyRepository { .. }),
        "{error}"
    );
    let error = bench
        .resolve(&server.url("/none.git"), "")
        .expect_err("no such repository");
    assert!(error.to_string().contains("not found"), "{error}");
}

#[test]
fn demanded_commit_must_be_that_of_the_reference() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let first = repository.commit(&[("file", "one")]);
    repository.commit(&[("file", "two")]);
    let server = serve_http(&bench.served(), None);
    let wanted = Wanted {
        reference: Some("main".into()),
        checksum: Some(first[..7].to_owned()),
    };
    let error = bench
        .run(|git| git.resolve(&server.url("/a.git"), &wanted))
        .expect_err("another commit");
    assert!(matches!(error, FetchError::WrongCommit { .. }), "{error}");
}

#[test]
fn subdirectory_becomes_the_root_and_no_link_leads_out() {
    let Some(bench) = Bench::new() else { return };
    let outside = bench.folder.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    let mut repository = TestRepository::new(&bench.served(), "a");
    std::os::unix::fs::symlink(&outside, repository.work().join("out")).expect("a link");
    std::os::unix::fs::symlink("dir", repository.work().join("in")).expect("a link");
    let commit = repository.commit(&[("dir/sub/file", "one"), ("file", "two")]);
    let server = serve_http(&bench.served(), None);
    let check_out = |path: &'static str| {
        let commit = &commit;
        bench.check_out(&server.url("/a.git"), &move |request| {
            request.commit = commit;
            request.subdirectory = Some(path);
        })
    };
    let files = check_out("dir").expect("a checkout");
    assert_eq!(listing(&files), ["sub/ 755", "sub/file 644 one"]);
    for path in ["out", "in", "in/sub", "file", "none", "dir/../../.."] {
        let error = check_out(path).expect_err("no directory");
        assert!(
            matches!(error, FetchError::NotADirectory { .. }),
            "{path}: {error}"
        );
    }
}

#[test]
fn submodules_are_checked_out_with_theirs() {
    let Some(bench) = Bench::new() else { return };
    let mut inner = TestRepository::new(&bench.served(), "inner");
    inner.commit(&[("deep", "deep")]);
    let server = serve_http(&bench.served(), None);
    let mut middle = TestRepository::new(&bench.served(), "middle");
    add_module(&mut middle, "inner", "../inner.git", inner.path());
    let mut outer = TestRepository::new(&bench.served(), "outer");
    outer.commit(&[("file", "one")]);
    let commit = add_module(
        &mut outer,
        "mods/m",
        &server.url("/middle.git"),
        middle.path(),
    );
    let check_out = |submodules: bool, keep: bool| {
        let commit = &commit;
        bench.check_out(&server.url("/outer.git"), &move |request| {
            request.commit = commit;
            request.submodules = submodules;
            request.keep_git_directory = keep;
        })
    };
    let names = |root: &Path| -> Vec<String> {
        let lines = listing(root).into_iter();
        lines
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect()
    };
    let files = check_out(true, false).expect("a checkout");
    let expected = [
        ".gitmodules",
        "file",
        "mods/",
        "mods/m/",
        "mods/m/.gitmodules",
        "mods/m/inner/",
        "mods/m/inner/deep",
    ];
    assert_eq!(names(&files), expected);
    let files = check_out(false, false).expect("a checkout");
    assert_eq!(names(&files), [".gitmodules", "file", "mods/", "mods/m/"]);
    let files = check_out(true, true).expect("a checkout");
    assert!(files.join("mods/m/inner/.git").is_dir());
}

/// Adds the head of `module` at `path`, with `url` as its address; returns the commit.
fn add_module(repository: &mut TestRepository, path: &str, url: &str, module: &Path) -> String {
    let module = module.display().to_string();
    repository.git(&["submodule", "--quiet", "add", &module, path]);
    repository.git(&[
        "config",
        "-f",
        ".gitmodules",
        &format!("submodule.{path}.url"),
        url,
    ]);
    repository.commit(&[])
}

#[test]
fn submodules_with_dangerous_addresses_are_refused() {
    let Some(bench) = Bench::new() else { return };
    let mut inner = TestRepository::new(&bench.served(), "inner");
    inner.commit(&[("deep", "deep")]);
    let marker = bench.folder.path().join("marker");
    let urls = [
        format!("ext::sh -c touch% {}", marker.display()),
        format!("file://{}", inner.path().display()),
        inner.path().display().to_string(),
        "ssh://-oProxyCommand=touch/x".to_owned(),
        "-u./payload".to_owned(),
        "../../../../x".to_owned(),
    ];
    let server = serve_http(&bench.served(), None);
    for (number, url) in urls.iter().enumerate() {
        let name = format!("outer{number}");
        let mut outer = TestRepository::new(&bench.served(), &name);
        let commit = add_module(&mut outer, "m", url, inner.path());
        let remote = server.url(&format!("/{name}.git"));
        let error = bench
            .check_out(&remote, &|request| request.commit = &commit)
            .expect_err("a refusal");
        assert!(
            matches!(error, FetchError::Submodule { .. }),
            "{url}: {error}"
        );
    }
    assert!(!marker.exists());
}

#[test]
fn kept_git_directory_is_a_clean_repository_without_traces() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let commit = repository.commit(&[("file", "one")]);
    repository.git(&["tag", "-a", "-m", "release", "v1"]);
    repository.publish();
    let server = serve_http(&bench.served(), None);
    let remote = server.url("/a.git");
    let files = bench
        .check_out(&remote, &|request| {
            request.commit = &commit;
            request.reference = Some("refs/tags/v1");
            request.keep_git_directory = true;
        })
        .expect("a checkout");
    let git = |arguments: &[&str]| {
        let mut command = kiln_testdata::git::git(&files);
        command.env("GIT_CONFIG_COUNT", "1");
        command
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*");
        kiln_testdata::command::stdout_of(command.args(arguments))
            .trim()
            .to_owned()
    };
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&["cat-file", "-t", "v1"]), "tag");
    assert_eq!(git(&["remote", "get-url", "origin"]), remote);
    assert_eq!(git(&["rev-list", "--count", "HEAD"]), "1");
    assert!(!files.join(".git/hooks").exists());
}

#[test]
fn files_get_the_time_of_the_commit_when_asked() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    std::os::unix::fs::symlink("x", repository.work().join("link")).expect("a link");
    let commit = repository.commit(&[("dir/file", "one")]);
    let server = serve_http(&bench.served(), None);
    let files = bench
        .check_out(&server.url("/a.git"), &|request| {
            request.commit = &commit;
            request.times = Times::Commit;
        })
        .expect("a checkout");
    for path in ["", "dir", "dir/file", "link"] {
        let metadata = files.join(path).symlink_metadata().expect("its metadata");
        assert_eq!(metadata.mtime(), FIRST_COMMIT_SECONDS, "{path}");
    }
}

#[test]
fn repositories_of_sha256_are_like_others() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::with_format(&bench.served(), "a", "sha256");
    let commit = repository.commit(&[("file", "one")]);
    let server = serve_http(&bench.served(), None);
    let remote = server.url("/a.git");
    assert_eq!(bench.resolve(&remote, "main").expect("a commit"), commit);
    let files = bench
        .check_out(&remote, &|request| {
            request.commit = &commit;
            request.keep_git_directory = true;
        })
        .expect("a checkout");
    assert_eq!(listing(&files)[1], "file 644 one");
}

#[test]
fn git_protocol_is_spoken_and_hidden_commits_are_fetched_by_their_branch() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let first = repository.commit(&[("file", "one")]);
    let second = repository.commit(&[("file", "two")]);
    let unset = ["config", "--unset", "uploadpack.allowAnySHA1InWant"];
    kiln_testdata::command::stdout_of(kiln_testdata::git::git(repository.path()).args(unset));
    let daemon = GitDaemon::start(&bench.served());
    let remote = daemon.url("/a.git");
    assert_eq!(bench.resolve(&remote, "main").expect("a commit"), second);
    for commit in [&second, &first] {
        bench
            .check_out(&remote, &|request| {
                request.commit = commit;
                request.reference = Some("refs/heads/main");
            })
            .expect("a checkout");
    }
}

#[test]
fn credentials_go_to_their_host_and_into_no_message() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let commit = repository.commit(&[("file", "one")]);
    let header = Credential::Token("sekret".into()).for_git();
    let server = serve_http(&bench.served(), Some(&header));
    let remote = server.url("/a.git");
    let error = bench
        .resolve(&remote, "main")
        .expect_err("nobody was let in");
    assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
    let with_user = remote.replace("http://", "http://x-access-token:sekret@");
    assert_eq!(bench.resolve(&with_user, "main").expect("a commit"), commit);
    let wrong = remote.replace("http://", "http://user:sekret@");
    let error = bench
        .resolve(&wrong, "main")
        .expect_err("nobody was let in");
    assert!(!error.to_string().contains("sekret"), "{error}");
    let token = Credential::Token("sekret".into());
    bench.access.hosts = vec![("other.example".into(), token.clone())];
    bench
        .resolve(&remote, "main")
        .expect_err("not for this host");
    server.take_requests();
    bench.access.hosts = vec![(server.address().to_owned(), token)];
    assert_eq!(bench.resolve(&remote, "main").expect("a commit"), commit);
    let files = bench.check_out(&remote, &|request| {
        request.commit = &commit;
        request.keep_git_directory = true;
    });
    let config = std::fs::read_to_string(files.expect("a checkout").join(".git/config"));
    assert!(!config.expect("a configuration").contains("eC1h"));
}

#[test]
fn redirects_are_not_followed_with_credentials() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let commit = repository.commit(&[("file", "one")]);
    let target = serve_http(&bench.served(), None);
    let elsewhere = target.clone();
    let server = kiln_testdata::web::WebServer::start(move |request| {
        let location = elsewhere.url(&format!("{}?{}", request.path, request.query));
        kiln_testdata::web::WebReply::status(302).header("location", location)
    });
    let remote = server.url("/a.git");
    assert_eq!(bench.resolve(&remote, "main").expect("a commit"), commit);
    target.take_requests();
    bench.access.hosts = vec![(server.address().to_owned(), Credential::Token("x".into()))];
    let error = bench.resolve(&remote, "main").expect_err("a refusal");
    assert!(matches!(error, FetchError::Redirected { .. }), "{error}");
    assert_eq!(target.take_requests().len(), 0);
}

#[test]
fn hosts_that_are_not_there_are_errors_that_say_so() {
    let Some(bench) = Bench::new() else { return };
    for (remote, expected) in [
        ("http://127.0.0.1:1/a.git", "Failed to connect"),
        ("http://does-not-exist.invalid/a.git", "Could not resolve"),
        ("git://127.0.0.1:1/a.git", "unable to connect"),
    ] {
        let error = bench
            .resolve(remote, "main")
            .expect_err("nobody there")
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn pointers_of_large_files_are_told_of() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:x\nsize 3\n";
    let attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
    let commit = repository.commit(&[("a.bin", pointer), (".gitattributes", attributes)]);
    let server = serve_http(&bench.served(), None);
    let files = bench
        .check_out(&server.url("/a.git"), &|request| request.commit = &commit)
        .expect("a checkout");
    let content = std::fs::read_to_string(files.join("a.bin")).expect("a file");
    assert_eq!(content, pointer);
    let told = bench.told.lock().expect("lines").join("\n");
    assert!(told.contains("Git LFS"), "{told}");
}

#[test]
fn what_an_ended_process_left_in_a_kept_repository_does_no_harm() {
    let Some(bench) = Bench::new() else { return };
    let mut repository = TestRepository::new(&bench.served(), "a");
    let first = repository.commit(&[("file", "one")]);
    let server = serve_http(&bench.served(), None);
    let remote = server.url("/a.git");
    let check_out = |commit: &str| {
        let files = bench
            .check_out(&remote, &|request| request.commit = commit)
            .expect("a checkout");
        listing(&files)
    };
    check_out(&first);
    let kept = bench.folder.path().join("kept");
    let kept = std::fs::read_dir(kept).expect("a directory").next();
    let kept = kept.expect("a repository").expect("an entry").path();
    for lock in ["shallow.lock", "config.lock", "refs/kiln/x.lock"] {
        std::fs::write(kept.join(lock), "").expect("a lock");
    }
    let second = repository.commit(&[("file", "two")]);
    assert_eq!(check_out(&second), ["file 644 two"]);
    std::fs::remove_file(kept.join("HEAD")).expect("removed");
    assert_eq!(check_out(&first), ["file 644 one"]);
    damage(&kept.join("objects"));
    assert_eq!(check_out(&second), ["file 644 two"]);
    assert!(
        bench
            .told
            .lock()
            .expect("lines")
            .join("\n")
            .contains("is damaged")
    );
}

/// Overwrites all objects, but for their names and sizes.
fn damage(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            damage(&path);
            continue;
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        let size = path.metadata().expect("its metadata").len();
        std::fs::write(&path, vec![b'x'; size as usize]).expect("damage");
    }
}

#[test]
fn remote_that_says_nothing_is_given_up() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.idle = Duration::from_millis(500);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let error = bench.resolve(&format!("git://{address}/a.git"), "main");
    let text = error.expect_err("nobody answers").to_string();
    assert!(text.contains("nothing came"), "{text}");
}
