//! Git repositories for tests: made here, served by HTTP and by `git daemon`.

use crate::command::stdout_of;
use crate::web::{WebReply, WebRequest, WebServer};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// The time of the first commit of every repository; each further one is a minute later.
pub const FIRST_COMMIT_SECONDS: i64 = 1_600_000_000;

/// A work tree with its repository, `ROOT/NAME.git`, which servers serve.
pub struct TestRepository {
    bare: PathBuf,
    work: PathBuf,
    commits: i64,
}

impl TestRepository {
    /// Returns an empty repository `name` below `root`, with the branch `main`.
    pub fn new(root: &Path, name: &str) -> Self {
        Self::with_format(root, name, "sha1")
    }

    /// Returns an empty repository of this object format: `sha1`, `sha256`.
    pub fn with_format(root: &Path, name: &str, format: &str) -> Self {
        let repository = Self {
            bare: root.join(format!("{name}.git")),
            work: root.join(format!("{name}.work")),
            commits: 0,
        };
        let format = format!("--object-format={format}");
        let init = ["init", "--quiet", "--initial-branch=main", &format];
        stdout_of(git(root).args(init).arg("--bare").arg(&repository.bare));
        stdout_of(git(root).args(init).arg(&repository.work));
        repository.git(&[
            "remote",
            "add",
            "origin",
            &repository.bare.display().to_string(),
        ]);
        for (key, value) in [
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("http.receivepack", "false"),
        ] {
            stdout_of(git(&repository.bare).args(["config", key, value]));
        }
        repository
    }

    /// Returns the served repository.
    pub fn path(&self) -> &Path {
        &self.bare
    }

    /// Returns the work tree.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Runs git in the work tree and returns what it says.
    pub fn git(&self, arguments: &[&str]) -> String {
        let seconds = FIRST_COMMIT_SECONDS + 60 * (self.commits - 1).max(0);
        let mut command = git(&self.work);
        command
            .env("GIT_AUTHOR_DATE", format!("{seconds} +0000"))
            .env("GIT_COMMITTER_DATE", format!("{seconds} +0000"));
        stdout_of(command.args(arguments)).trim().to_owned()
    }

    /// Writes `files`, commits all and publishes the branch; returns the commit.
    pub fn commit(&mut self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.work.join(path);
            std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("directories");
            std::fs::write(path, content).expect("a file");
        }
        self.commits += 1;
        self.git(&["add", "--all"]);
        let message = format!("commit {}", self.commits);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", &message]);
        self.publish();
        self.git(&["rev-parse", "HEAD"])
    }

    /// Publishes all branches and tags.
    pub fn publish(&self) {
        self.git(&["push", "--quiet", "--force", "origin", "--all"]);
        self.git(&["push", "--quiet", "--force", "origin", "--tags"]);
    }
}

/// Returns git in `directory`, without anybody's configuration.
pub fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory);
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Author"),
        ("GIT_AUTHOR_EMAIL", "author@example.com"),
        ("GIT_COMMITTER_NAME", "Committer"),
        ("GIT_COMMITTER_EMAIL", "committer@example.com"),
        ("GIT_ALLOW_PROTOCOL", "file"),
    ] {
        command.env(name, value);
    }
    command
}

/// Returns a server of the repositories below `root`: `NAME.git` is at `/NAME.git`.
///
/// Requests whose header `Authorization` is not `authorization`, if given, are refused.
pub fn serve_http(root: &Path, authorization: Option<&str>) -> WebServer {
    let root = Arc::new(root.to_owned());
    let authorization = authorization.map(str::to_owned);
    WebServer::start(move |request| {
        let given = request.header("authorization");
        match authorization.as_deref() {
            Some(wanted) if given != Some(wanted) => {
                WebReply::status(401).header("www-authenticate", "Basic realm=\"test\"")
            }
            _ => backend(&root, request),
        }
    })
}

/// Answers by `git http-backend`, which is a CGI program.
fn backend(root: &Path, request: &WebRequest) -> WebReply {
    let mut command = git(root);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for (variable, header) in [
        ("CONTENT_TYPE", "content-type"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        if let Some(value) = request.header(header) {
            command.env(variable, value);
        }
    }
    let mut child = command.spawn().expect("git http-backend");
    let mut stdin = child.stdin.take().expect("its input");
    let body = request.body.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("its output");
    let _ = writer.join();
    reply_of(&output.stdout)
}

/// Returns the answer that a CGI program gave.
fn reply_of(output: &[u8]) -> WebReply {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let Some(end) = end else {
        return WebReply::status(500);
    };
    let mut reply = WebReply::body(&output[end + 4..]);
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(':') {
            Some(("Status", status)) => {
                let code = status.split_whitespace().next();
                reply.status = code.and_then(|code| code.parse().ok()).unwrap_or(500);
            }
            Some((name, value)) => reply = reply.header(name, value.trim()),
            None => {}
        }
    }
    reply
}

/// A `git daemon`; it ends with this value.
pub struct GitDaemon {
    child: Child,
    port: u16,
}

impl GitDaemon {
    /// Returns a daemon for the repositories below `root`.
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback address");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        // Started by its own name: `git` would stand between, and be all that is ended.
        let programs = stdout_of(git(root).arg("--exec-path"));
        let program = Path::new(programs.trim()).join("git-daemon");
        let child = Command::new(program)
            .args(["--reuseaddr", "--export-all", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", root.display()))
            .arg(root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("git daemon");
        let daemon = Self { child, port };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return daemon;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("git daemon does not answer");
    }

    /// Returns the address of `path`, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("git://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
