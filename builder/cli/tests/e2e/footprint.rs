//! What a build could leave on the machine: mounts, control groups, processes, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One line per thing on the machine that has to do with the store `root`.
#[derive(Debug, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// Looks at the machine now.
    pub fn take(root: &Path) -> Footprint {
        let mut lines = BTreeSet::new();
        lines.extend(mounts_below(root));
        lines.extend(directories_named_kiln(Path::new("/sys/fs/cgroup"), 4));
        lines.extend(temporary_files());
        lines.extend(processes_of(root));
        for unfinished in ["active", "ingest"] {
            lines.extend(entries(&root.join(unfinished)));
        }
        Footprint(lines)
    }

    /// Panics unless the machine looks like this again within a few seconds.
    ///
    /// What was killed takes a moment to be gone.
    pub fn returns(&self, root: &Path) {
        let started = Instant::now();
        loop {
            let now = Footprint::take(root);
            let left: Vec<_> = now.0.difference(&self.0).collect();
            if left.is_empty() {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "left behind: {left:#?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Keeps tests apart that look at what is the whole machine's.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn mounts_below(root: &Path) -> Vec<String> {
    let root = root.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    mounts
        .lines()
        .filter(|line| line.contains(&root))
        .map(str::to_string)
        .collect()
}

fn directories_named_kiln(directory: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("kiln") && !has_living_owner(&name) {
            found.push(entry.path().display().to_string());
        }
        if depth > 1 {
            found.extend(directories_named_kiln(&entry.path(), depth - 1));
        }
    }
    found
}

/// Whether a group's name has the number of a living process: another test's build.
fn has_living_owner(name: &str) -> bool {
    let is_process = |part: &str| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number && Path::new("/proc").join(part).exists()
    };
    name.split('-').any(is_process)
}

fn temporary_files() -> Vec<String> {
    let ours = |path: &String| path.contains("/kiln") && !path.contains("/kiln-testdata-");
    let mut found = entries(&std::env::temp_dir());
    found.extend(entries(Path::new("/run")));
    found.into_iter().filter(ours).collect()
}

fn processes_of(root: &Path) -> Vec<String> {
    let marker = root.display().to_string();
    let mut found = Vec::new();
    for process in entries(Path::new("/proc")) {
        let read = |name: &str| fs::read(format!("{process}/{name}")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let is_ours = environment.contains("KILN_E2E_MARKER") || arguments.contains(&marker);
        if is_ours {
            found.push(format!("{process}: {arguments}"));
        }
    }
    found
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path().display().to_string())
        .collect()
}
