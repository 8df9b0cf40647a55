//! Children of tests: the test binary starts itself again, and its test `child` does what
//! the environment says.
#![allow(dead_code)] // Each test binary uses its part.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a child is to do.
pub const ROLE: &str = "KILN_DISK_TEST_ROLE";
/// The store that it works in.
pub const ROOT: &str = "KILN_DISK_TEST_ROOT";

/// Returns the root of a store of this process that is not there yet.
pub fn fresh_root(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("kiln-procs-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    root
}

/// Starts a child and waits until it says `ready`.
pub fn start(role: &str, root: &Path) -> Child {
    let mut child = spawn(role, root);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line == "ready"),
        "child {role} died"
    );
    child
}

/// Starts a child, whose test `child` does what `role` says.
pub fn spawn(role: &str, root: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .env(ROLE, role)
        .env(ROOT, root);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a child, as `kill -9` does, and waits for its end.
pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Tells the parent that all is set up, and lives on.
pub fn say_ready_and_sleep() {
    eprintln!("ready");
    std::thread::sleep(Duration::from_secs(60));
}
