//! Children of tests: the test binary starts itself again, and its test `child` does what
//! the environment says.
#![allow(dead_code)] // Each test binary uses its part.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_disk::{LayerId, Patience, PruneReport, PruneRule, Record, Store};
use kiln_oci::Digest;

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

/// Returns the digest of `text`.
pub fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

/// Commits a layer with one file.
pub fn layer(store: &Store, bytes: usize) -> LayerId {
    let layer = store.layers().begin().unwrap();
    std::fs::write(layer.upper().join("file"), vec![7; bytes]).unwrap();
    layer.commit(LayerId::random()).unwrap()
}

/// Records that `key` results in `result`.
pub fn record(store: &Store, key: &str, result: &[LayerId]) {
    let record = Record {
        result: result.to_vec(),
        canonical_key: digest(key),
        created_seconds: 0,
        description: format!("step {key}"),
        build_id: String::new(),
    };
    store.sync().unwrap();
    store.records().put(&digest(key), &record).unwrap();
}

/// Whether there is a result for `key`.
pub fn has(root: &Path, key: &str) -> bool {
    let store = Store::open(root).unwrap();
    store.records().get(&digest(key)).unwrap().is_some()
}

/// Prunes; nothing may dangle afterwards.
pub fn prune(root: &Path, rule: PruneRule) -> PruneReport {
    let store = Store::open(root).unwrap();
    let report = store.prune(&[rule], |_| Patience::Wait).unwrap();
    let verified = store.verify(&mut |_| {}).unwrap();
    assert_eq!(verified.problems, []);
    report
}
