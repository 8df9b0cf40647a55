//! Collecting beside other processes, some of which are killed; and room counted exactly.
//!
//! One test at a time: what is forked holds its parent's leases until it is another program.

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_disk::{ItemState, LayerId, Patience, PruneRule, Store};
use support::{
    ROLE, ROOT, digest, fresh_root, has, kill, layer, prune, record, say_ready_and_sleep, spawn,
    start,
};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn child() {
    let (Ok(role), Ok(root)) = (std::env::var(ROLE), std::env::var(ROOT)) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    match role.as_str() {
        "use" => {
            store.records().get(&digest("a")).unwrap().unwrap();
            say_ready_and_sleep();
        }
        "build" => build_for_ever(&store),
        _ => prune_for_ever(&store),
    }
}

/// Looks up results and makes those that are not there, each upon another.
fn build_for_ever(store: &Store) {
    eprintln!("ready");
    for number in 0.. {
        let store = Store::open(store.root()).unwrap();
        let key = format!("{}", number % 7);
        let found = store.records().get(&digest(&key)).unwrap();
        let mut stack = found.map(|record| record.result).unwrap_or_default();
        for layer in &stack {
            let file = store.layers().diff_path(layer).join("file");
            assert_eq!(std::fs::read(file).unwrap().len(), 10_000);
        }
        stack.truncate(3);
        stack.push(layer(&store, 10_000));
        record(&store, &format!("{}", (number + 1) % 7), &stack);
        store.blobs().put(&stack.len().to_le_bytes()).unwrap();
    }
}

fn prune_for_ever(store: &Store) {
    eprintln!("ready");
    loop {
        store
            .prune(&[PruneRule::default()], |_| Patience::Wait)
            .unwrap();
    }
}

#[test]
fn what_a_living_process_uses_stays_until_it_is_killed() {
    let _alone = alone();
    let root = fresh_root("gc-use");
    let store = Store::open(&root).unwrap();
    let layer = layer(&store, 1000);
    record(&store, "a", &[layer]);
    let active = store.layers().begin().unwrap();
    drop(active);
    drop(store);
    let user = start("use", &root);
    assert_eq!(prune(&root, PruneRule::default()).removed, []);
    let items = Store::open(&root).unwrap().items().unwrap().items;
    assert_eq!(items[0].state, ItemState::InUse);
    kill(user);
    let removed = prune(&root, PruneRule::default()).removed;
    assert_eq!(removed.len(), 1);
    assert!(!has(&root, "a"));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn nothing_dangles_when_collectors_and_builders_are_killed() {
    let _alone = alone();
    let root = fresh_root("gc-kill");
    drop(Store::open(&root).unwrap());
    let mut builders = vec![spawn("build", &root), spawn("build", &root)];
    for round in 0..8 {
        let collector = start("prune", &root);
        std::thread::sleep(Duration::from_millis(40 + round * 13));
        kill(collector);
        kill(builders.remove(0));
        builders.push(spawn("build", &root));
        let store = Store::open(&root).unwrap();
        let report = store.verify(&mut |_| {}).unwrap();
        assert_eq!(report.problems, [], "round {round}");
    }
    builders.into_iter().for_each(kill);
    prune(&root, PruneRule::default());
    let usage = Store::open(&root).unwrap().usage().unwrap();
    assert_eq!(usage.layers.inodes, 1, "all is gone but the folder");
    assert_eq!(
        usage.active.inodes, 2,
        "and the folders of what is unfinished"
    );
    std::fs::remove_dir_all(root).unwrap();
}

/// A small file system of its own, unmounted when dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// Returns nothing where file systems cannot be mounted.
    fn ext4(name: &str) -> Option<Self> {
        let program = Path::new("/sbin/mkfs.ext4");
        let is_root = rustix::process::geteuid().is_root();
        if !is_root || !program.exists() {
            let on_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(
                !(on_ci && is_root),
                "this test needs {program:?}, which CI must have"
            );
            eprintln!("skipped: this test needs to be root, and {program:?}");
            return None;
        }
        let directory = fresh_root(name);
        std::fs::create_dir_all(directory.join("mount")).unwrap();
        let image = directory.join("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        // Without the blocks that are kept for root.
        run(Command::new(program).args(["-q", "-m", "0"]).arg(&image));
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image);
        if !mount
            .arg(directory.join("mount"))
            .status()
            .unwrap()
            .success()
        {
            eprintln!("skipped: this test needs loop devices");
            std::fs::remove_dir_all(&directory).unwrap();
            return None;
        }
        Some(Self(directory))
    }

    fn root(&self) -> std::path::PathBuf {
        self.0.join("mount/store")
    }

    /// Bytes and inodes that are not free.
    fn used(&self) -> (u64, u64) {
        let mount = std::fs::File::open(self.0.join("mount")).unwrap();
        rustix::fs::syncfs(&mount).unwrap();
        let status = rustix::fs::statvfs(self.0.join("mount")).unwrap();
        let blocks = status.f_blocks - status.f_bfree;
        (blocks * status.f_frsize, status.f_files - status.f_ffree)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0.join("mount")));
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn usage_is_what_the_file_system_gives_back() {
    let _alone = alone();
    let Some(mounted) = Mounted::ext4("gc-exact") else {
        return;
    };
    let empty = mounted.used();
    let store = Store::open(&mounted.root()).unwrap();
    let big = store.layers().begin().unwrap();
    std::fs::write(big.upper().join("file"), vec![7; 300_000]).unwrap();
    std::fs::hard_link(big.upper().join("file"), big.upper().join("again")).unwrap();
    std::os::unix::fs::symlink("x".repeat(200), big.upper().join("link")).unwrap();
    for number in 0..200_u32 {
        let path = big.upper().join(format!("directory {number}"));
        std::fs::create_dir(&path).unwrap();
        // All different: ext4 shares equal blocks of attributes, but tells nobody.
        let value = [number as u8; 300];
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&path, "user.kiln", &value, flags).unwrap();
    }
    let big = big.commit(LayerId::random()).unwrap();
    let small = layer(&store, 10);
    std::fs::hard_link(
        store.layers().diff_path(&big).join("file"),
        store.layers().diff_path(&small).join("of the other layer"),
    )
    .unwrap();
    record(&store, "a", &[big, small]);
    store.blobs().put(&[7; 50_000]).unwrap();
    drop(store);
    mounted.used();

    let store = Store::open(&mounted.root()).unwrap();
    let listing = store.items().unwrap();
    let total = store.usage().unwrap().total();
    assert_eq!(listing.total(), total);
    let full = mounted.used();
    let report = store.prune(&[PruneRule::default()], |_| Patience::Wait);
    drop(store);
    let pruned = mounted.used();
    let freed = report.unwrap().freed;
    // Written meanwhile, to remember sizes.
    let sizes = std::fs::metadata(mounted.root().join("layer-sizes.json")).unwrap();
    let given = (full.0 - pruned.0, full.1 - pruned.1);
    let written = sizes.blocks() * 512;
    assert_eq!((freed.bytes - written, freed.inodes - 1), given);

    let store = Store::open(&mounted.root()).unwrap();
    let total = store.usage().unwrap().total();
    drop(store);
    std::fs::remove_dir_all(mounted.root()).unwrap();
    let deleted = mounted.used();
    assert_eq!(
        (pruned.0 - deleted.0, pruned.1 - deleted.1),
        (total.bytes, total.inodes)
    );
    assert_eq!(deleted, empty);
}

#[test]
fn full_disk_can_be_pruned() {
    let _alone = alone();
    let Some(mounted) = Mounted::ext4("gc-full") else {
        return;
    };
    let store = Store::open(&mounted.root()).unwrap();
    record(&store, "a", &[layer(&store, 5_000_000)]);
    drop(store);
    let filler = mounted.0.join("mount/filler");
    let mut size = 16 << 20;
    let mut file = std::fs::File::create(filler).unwrap();
    while size > 0 {
        use std::io::Write;
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
    drop(file);
    let store = Store::open(&mounted.root()).unwrap();
    let refused = store.blobs().put(&[1; 100_000]).unwrap_err();
    assert!(refused.is_out_of_space(), "{refused}");
    drop(store);
    let report = prune(&mounted.root(), PruneRule::default());
    assert!(report.freed.bytes > 5_000_000);
    mounted.used();
    let store = Store::open(&mounted.root()).unwrap();
    store.blobs().put(&[1; 100_000]).unwrap();
    drop(store);
}
