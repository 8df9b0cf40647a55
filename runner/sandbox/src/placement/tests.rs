//! What is put into a root, and that nothing of it stays.

use super::*;
use kiln_runspec::{Limits, NetworkSpec, ResolvedUser, SecretData, SecurityMode};
use std::os::unix::fs::symlink;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["root/etc", "root/data", "aside", "cache"] {
            fs::create_dir_all(directory.path().join(name)).expect("a directory");
        }
        fs::write(directory.path().join("root/data/own"), "own").expect("a file");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spec(&self, mounts: Vec<(&str, MountKind)>) -> RunSpec {
        let mount = |(target, kind): (&str, MountKind)| MountSpec {
            target: target.to_owned(),
            kind,
        };
        RunSpec {
            root: Root::Directory {
                path: self.path("root"),
                aside: self.path("aside"),
            },
            arguments: Vec::new(),
            environment: Vec::new(),
            working_directory: "/".into(),
            user: ResolvedUser::default(),
            hostname: String::new(),
            hosts: "hosts".into(),
            resolv_conf: "resolv".into(),
            mounts: mounts.into_iter().map(mount).collect(),
            network: NetworkSpec::Host,
            security: SecurityMode::Sandbox,
            confinement: Default::default(),
            emulators: Vec::new(),
            limits: Limits::default(),
            resource_limits: Vec::new(),
            shm_size_bytes: None,
            cgroup_name: "x".into(),
        }
    }

    /// Names, times and contents below the root.
    fn state(&self) -> Vec<(PathBuf, i64, i64, Option<String>)> {
        let mut found = Vec::new();
        let mut pending = vec![self.path("root")];
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            if metadata.is_dir() {
                let entries = fs::read_dir(&path).expect("a directory");
                pending.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
            let content = fs::read_to_string(&path).ok();
            found.push((path, metadata.mtime(), metadata.mtime_nsec(), content));
        }
        found.sort();
        found
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("root").join(name)).unwrap_or_default()
    }
}

/// Devices can be made by root of the machine alone.
fn is_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_root = rustix::process::geteuid().is_root() && map.contains("4294967295");
    if !is_root {
        eprintln!("skipped: this test needs to be root");
    }
    is_root
}

fn bind(source: PathBuf, subpath: &str) -> MountKind {
    MountKind::Bind {
        source,
        subpath: subpath.to_owned(),
        read_only: false,
    }
}

#[test]
fn nothing_of_what_was_put_stays() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let before = place.state();
    let secret = MountKind::SecretFile {
        data: SecretData(b"secret".to_vec()),
        mode: 0o400,
        uid: 7,
        gid: 8,
    };
    let spec = place.spec(vec![
        ("/run/secrets/key", secret),
        ("/data", bind(place.path("cache"), "")),
        ("/data/deep/tmp", MountKind::Tmpfs { size_bytes: None }),
    ]);
    let placements = Placements::put(&spec).expect("placements");
    assert_eq!(place.read("etc/hosts"), "hosts");
    assert_eq!(place.read("run/secrets/key"), "secret");
    assert_eq!(place.read("data/own"), "");
    let null = fs::metadata(place.path("root/dev/null")).expect("a device");
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    fs::write(place.path("root/data/kept"), "kept").expect("a file");
    placements.take_back().expect("all of it");
    assert_eq!(place.state(), before);
    let kept = fs::read_to_string(place.path("cache/kept")).expect("a file of the cache");
    assert_eq!(kept, "kept");
    assert!(!place.path("cache/deep").exists());
}

#[test]
fn what_the_command_changed_beside_it_stays() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let spec = place.spec(vec![("/data", bind(place.path("cache"), ""))]);
    let placements = Placements::put(&spec).expect("placements");
    fs::write(place.path("root/etc/new"), "new").expect("a file");
    fs::remove_dir_all(place.path("root/data")).expect("the mounted directory");
    placements.take_back().expect("all of it");
    assert_eq!(place.read("etc/new"), "new");
    assert_eq!(place.read("data/own"), "own");
    assert!(place.path("cache").is_dir());
    assert!(!place.path("root/etc/hosts").exists());
}

#[test]
fn links_of_the_root_and_of_sources_stay_inside() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    symlink("/data", place.path("root/link")).expect("a link");
    symlink("/", place.path("root/etc/up")).expect("a link");
    fs::create_dir(place.path("cache/real")).expect("a directory");
    symlink("/real", place.path("cache/inner")).expect("a link");
    let file = MountKind::File {
        data: b"x".to_vec(),
        mode: 0o600,
    };
    let spec = place.spec(vec![
        ("/link/file", file),
        ("/etc/up/mounted", bind(place.path("cache"), "inner")),
    ]);
    let placements = Placements::put(&spec).expect("placements");
    assert_eq!(place.read("data/file"), "x");
    assert!(place.path("root/mounted").is_dir());
    assert!(!place.path("cache/real").exists());
    placements.take_back().expect("all of it");
    assert!(place.path("cache/real").is_dir());
    assert!(!place.path("root/data/file").exists());
}
