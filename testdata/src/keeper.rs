//! Services that end with the test that started them, however it ends.
//!
//! A test process may be killed, so it cannot be the one that cleans up. Each service gets a
//! *keeper*: a shell in a process group of its own that starts the service, waits until its
//! standard input closes (which the kernel does when the test process is gone), ends the
//! service and removes its directory.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts "$@", ends it when the input closes, unmounts and removes the directory `$0`.
const KEEPER: &str = r#"
trap '' INT HUP
"$@" & service=$!
cat >/dev/null
kill -TERM $service 2>/dev/null
wait $service
grep -o " $0/[^ ]*" /proc/mounts | sort -r | xargs -r umount -l 2>/dev/null
rm -rf "$0"
"#;

/// How long a service may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running service and its directory; dropping it ends the service and waits for that.
#[derive(Debug)]
pub struct Service {
    keeper: Child,
    directory: PathBuf,
    name: &'static str,
}

impl Service {
    /// Starts what `command` says with a fresh directory, and waits until `is_ready`.
    ///
    /// The service's output goes to `log` in the directory. Panics with that log when it
    /// does not become ready.
    pub fn start(
        name: &'static str,
        command: impl FnOnce(&Path) -> Command,
        is_ready: impl Fn(&Path) -> bool,
    ) -> Service {
        Self::start_in(&std::env::temp_dir(), name, command, is_ready)
    }

    /// As [`Service::start`], with a directory below `parent`.
    pub fn start_in(
        parent: &Path,
        name: &'static str,
        command: impl FnOnce(&Path) -> Command,
        is_ready: impl Fn(&Path) -> bool,
    ) -> Service {
        let directory = tempfile::Builder::new()
            .prefix(&format!("kiln-testdata-{name}-"))
            .tempdir_in(parent)
            .expect("a directory for the service")
            .keep();
        let keeper = spawn_keeper(&directory, &command(&directory));
        let mut service = Service {
            keeper,
            directory,
            name,
        };
        service.wait_until(is_ready);
        service
    }

    /// The service's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn wait_until(&mut self, is_ready: impl Fn(&Path) -> bool) {
        let started = Instant::now();
        while !is_ready(&self.directory) {
            if started.elapsed() > START_TIMEOUT {
                let log = std::fs::read_to_string(self.directory.join("log"));
                panic!("{} did not start:\n{}", self.name, log.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn spawn_keeper(directory: &Path, command: &Command) -> Child {
    let log = File::create(directory.join("log")).expect("the service's log");
    let errors = log.try_clone().expect("the service's log");
    Command::new("/bin/sh")
        .arg("-c")
        .arg(KEEPER)
        .arg(directory)
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .expect("a shell")
}

/// Returns a loopback port that nothing listens on.
///
/// Another process may take it before the service does; the service then does not become
/// ready and the test says so.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
    listener.local_addr().expect("its address").port()
}
