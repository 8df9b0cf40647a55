//! A tiny root and a run in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_sandbox::runspec::*;
use kiln_sandbox::{Cancellation, Outcome, Sandbox, SandboxError, Status, Stream, host};
use tempfile::TempDir;

const BUSYBOX: &str = "/bin/busybox";

/// Returns why the tests cannot be done here.
pub fn missing() -> Option<String> {
    if !Path::new(BUSYBOX).exists() {
        return Some(format!("{BUSYBOX} is missing (package busybox-static)"));
    }
    let host = host::probe();
    match (host.rung.has_namespaces(), host.next_rung) {
        (false, Some(next)) if rustix::process::geteuid().is_root() => Some(next.missing),
        _ => None,
    }
}

/// Returns whether this process is root of the machine.
pub fn is_root() -> bool {
    host::probe().rung == Rung::Root
}

/// Says that the tests are skipped. Where root is at hand, CI must do them.
pub fn skip(reason: &str) {
    println!("sandbox tests SKIPPED: {reason}");
    if is_root() && std::env::var("CI").is_ok_and(|value| value == "true") {
        eprintln!("on CI as root this is a failure");
        std::process::exit(1);
    }
}

/// Directories of one root.
pub struct Fixture {
    pub directory: TempDir,
    pub sandbox: Sandbox,
}

/// What a run left behind.
pub struct Ran {
    pub result: Result<Outcome, SandboxError>,
    pub stdout: String,
    pub stderr: String,
}

impl Fixture {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("kiln-sandbox-")
            .tempdir()
            .expect("a temporary directory");
        for name in [
            "lower/bin",
            "lower/tmp",
            "lower/root",
            "lower/etc",
            "upper",
            "work",
        ] {
            fs::create_dir_all(directory.path().join(name)).expect("a directory of the root");
        }
        let lower = directory.path().join("lower");
        fs::copy(BUSYBOX, lower.join("bin/busybox")).expect("a copy of busybox");
        for name in [
            "sh", "cat", "ls", "id", "sleep", "true", "false", "grep", "readlink", "touch",
            "mount", "umount", "mknod", "setsid", "stat", "head", "wc", "rm", "mkdir", "echo",
            "hostname", "ip", "find", "dd", "yes", "kill", "ln", "mv", "test", "ps", "env", "pwd",
            "wget", "nslookup", "nc",
        ] {
            symlink("busybox", lower.join("bin").join(name)).expect("a link to busybox");
        }
        fs::write(lower.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("passwd");
        Self {
            directory,
            sandbox: Sandbox::new(host::probe()).expect("a sandbox"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn spec(&self, script: &str) -> RunSpec {
        RunSpec {
            root: Root::Overlay {
                lowers: vec![self.path("lower")],
                upper: self.path("upper"),
                work: self.path("work"),
                user_xattrs: self.sandbox.host().rung.is_user_namespace(),
            },
            arguments: vec!["/bin/sh".into(), "-c".into(), script.into()],
            environment: vec![format!("PATH={}", defaults::PATH)],
            working_directory: "/".into(),
            user: ResolvedUser::default(),
            hostname: defaults::HOSTNAME.into(),
            hosts: "127.0.0.1 localhost\n".into(),
            resolv_conf: "nameserver 192.0.2.1\n".into(),
            mounts: Vec::new(),
            network: NetworkSpec::None,
            security: SecurityMode::Sandbox,
            limits: Limits::default(),
            resource_limits: Vec::new(),
            shm_size_bytes: None,
            cgroup_name: unused_name(),
            confinement: Confinement::default(),
            emulators: Vec::new(),
        }
    }

    pub fn run(&self, script: &str) -> Ran {
        self.run_spec(&self.spec(script))
    }

    pub fn run_spec(&self, spec: &RunSpec) -> Ran {
        self.run_cancellable(spec, &Cancellation::new().expect("a cancellation"))
    }

    pub fn run_cancellable(&self, spec: &RunSpec, cancellation: &Cancellation) -> Ran {
        // The kernel refuses a second life of a work directory without syncing.
        for name in ["upper", "work"] {
            fs::remove_dir_all(self.path(name)).expect("the directory of the run before");
            fs::create_dir(self.path(name)).expect("a new directory");
        }
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let result = self.sandbox.run(
            spec,
            |stream, bytes| match stream {
                Stream::Stdout => stdout.extend_from_slice(bytes),
                Stream::Stderr => stderr.extend_from_slice(bytes),
            },
            cancellation,
        );
        Ran {
            result,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Paths below the upper directory, sorted: what would become the layer.
    pub fn changes(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.path("upper"), "", &mut found);
        found.sort();
        found
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory)
        .expect("a readable directory")
        .flatten()
    {
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        found.push(name.clone());
        if is_directory {
            collect(&entry.path(), &name, found);
        }
    }
}

impl Ran {
    /// The status of a run that came to its end.
    pub fn status(&self) -> Status {
        match &self.result {
            Ok(outcome) => outcome.status,
            Err(error) => panic!("the run failed: {error}: {error:?}"),
        }
    }

    /// The output of a run that must succeed.
    pub fn succeeded(&self) -> &str {
        assert_eq!(
            self.status(),
            Status::Exited(0),
            "{}{}",
            self.stdout,
            self.stderr
        );
        &self.stdout
    }
}

/// Names of control groups differ, as those of a build's steps do: the kernel may need a moment to
/// be done with a group.
fn unused_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{number}", std::process::id())
}
