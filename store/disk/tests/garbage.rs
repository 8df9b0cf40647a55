//! What is removed when room is wanted, and what never is.

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln_disk::{
    CacheMountKey, CacheMountSharing, Error, ItemFilter, ItemKind, ItemState, LayerId, Patience,
    PruneReport, PruneRule, Record, Store,
};
use kiln_oci::{ChainId, Descriptor, DiffId, Digest, Manifest, MediaFamily, MediaType};
use support::{ROLE, ROOT, fresh_root, kill, say_ready_and_sleep, spawn, start};

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn layer(store: &Store, bytes: usize) -> LayerId {
    let layer = store.layers().begin().unwrap();
    std::fs::write(layer.upper().join("file"), vec![7; bytes]).unwrap();
    layer.commit(LayerId::random()).unwrap()
}

fn record(store: &Store, key: &str, result: &[LayerId]) {
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

fn has(root: &Path, key: &str) -> bool {
    let store = Store::open(root).unwrap();
    store.records().get(&digest(key)).unwrap().is_some()
}

fn prune(root: &Path, rule: PruneRule) -> PruneReport {
    let store = Store::open(root).unwrap();
    let report = store.prune(&[rule], |_| Patience::Wait).unwrap();
    let verified = store.verify(&mut |_| {}).unwrap();
    assert_eq!(verified.problems, []);
    report
}

/// Sets when a record and its layers were last used.
fn use_at(root: &Path, key: &str, layers: &[LayerId], hours_ago: u64) {
    let hex = digest(key).hex().to_owned();
    let mut paths = vec![root.join("records").join(&hex[..2]).join(&hex)];
    paths.extend(
        layers
            .iter()
            .map(|id| root.join("layers").join(id.as_str())),
    );
    let when = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
    for path in paths {
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(when).unwrap();
    }
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
fn least_recently_used_result_goes_first_and_only_as_many_as_needed() {
    let root = fresh_root("gc-order");
    let store = Store::open(&root).unwrap();
    let keys = ["a", "b", "c"];
    let layers = keys.map(|_| layer(&store, 100_000));
    for (key, layer) in keys.iter().zip(&layers) {
        record(&store, key, std::slice::from_ref(layer));
    }
    drop(store);
    for (key, layer, hours_ago) in [("a", 0, 2), ("b", 1, 3), ("c", 2, 1)] {
        use_at(&root, key, &layers[layer..=layer], hours_ago);
    }
    let rule = PruneRule {
        max_used_bytes: Some(250_000),
        ..PruneRule::default()
    };
    let report = prune(&root, rule);
    assert_eq!(report.removed.len(), 1);
    assert_eq!(report.removed[0].description, "step b");
    assert!(report.freed.bytes > 100_000);
    assert_eq!(keys.map(|key| has(&root, key)), [true, false, true]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn layer_that_another_result_has_too_stays() {
    let root = fresh_root("gc-shared");
    let store = Store::open(&root).unwrap();
    let (below, above) = (layer(&store, 1000), layer(&store, 1000));
    record(&store, "old", std::slice::from_ref(&below));
    record(&store, "new", &[below.clone(), above.clone()]);
    drop(store);
    use_at(&root, "old", &[], 50);
    let rule = PruneRule {
        unused_for: Some(Duration::from_secs(3600)),
        ..PruneRule::default()
    };
    prune(&root, rule.clone());
    assert!(has(&root, "old"), "it is used with what is built upon it");
    use_at(&root, "old", &[below, above], 50);
    let report = prune(&root, rule);
    assert_eq!(report.removed, [], "`new` was used and needs both layers");
    assert!(has(&root, "new"));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_a_living_process_uses_stays_until_it_is_killed() {
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

/// Names an image of one layer, found by its chain, and returns its configuration's digest.
fn name_image(store: &Store, layer: &LayerId) -> Digest {
    let diff_id = DiffId(digest("tar"));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let config_digest = store.blobs().put(config.as_bytes()).unwrap();
    let config = Descriptor::new(
        MediaType::from("application/vnd.oci.image.config.v1+json"),
        config_digest.clone(),
        config.len() as u64,
    );
    let manifest = Manifest::new(MediaFamily::Oci, config, Vec::new());
    let bytes = manifest.to_bytes();
    store.blobs().put(&bytes).unwrap();
    let chain_id = ChainId::of(&[diff_id]).unwrap();
    store.chains().set(&chain_id, layer).unwrap();
    let target = Descriptor::of_bytes(manifest.media_type.clone(), &bytes);
    let name = "app".parse().unwrap();
    store.images().put(&name, &target).unwrap();
    config_digest
}

#[test]
fn what_a_named_image_leads_to_stays_until_its_name_is_taken_away() {
    let root = fresh_root("gc-named");
    let store = Store::open(&root).unwrap();
    let layer = layer(&store, 1000);
    let config = name_image(&store, &layer);
    store.blobs().put(b"of no image").unwrap();
    drop(store);
    let removed = prune(&root, PruneRule::default()).removed;
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].id, digest("of no image").to_string());
    let store = Store::open(&root).unwrap();
    assert!(store.layers().exists(&layer) && store.blobs().has(&config));
    store.images().remove(&"app".parse().unwrap()).unwrap();
    drop(store);
    assert_eq!(prune(&root, PruneRule::default()).removed.len(), 3);
    let usage = Store::open(&root).unwrap().usage().unwrap();
    assert_eq!(usage.blobs.inodes, 3, "nothing but the folders");
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn unfinished_and_unrecorded_layers_go_without_being_asked_for() {
    let root = fresh_root("gc-unrecorded");
    let store = Store::open(&root).unwrap();
    layer(&store, 1000);
    record(&store, "a", &[layer(&store, 1000)]);
    drop(store);
    let nothing = PruneRule {
        filters: vec![ItemFilter::Id("nothing".to_owned())],
        ..PruneRule::default()
    };
    assert_eq!(prune(&root, nothing).removed.len(), 1);
    assert!(has(&root, "a"));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn filters_choose_by_kind() {
    let root = fresh_root("gc-filter");
    let store = Store::open(&root).unwrap();
    record(&store, "a", &[layer(&store, 1000)]);
    store.logs().writer("1-1", "0").unwrap();
    let key = CacheMountKey {
        id: "m".to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        seed: None,
    };
    let mounts = store.cache_mounts();
    let sharing = CacheMountSharing::Shared;
    let used = mounts.enter(&key, sharing, "test", &mut |_| Patience::Wait);
    used.unwrap().directory(|_| Ok::<_, Error>(())).unwrap();
    drop(store);
    let kinds = |report: PruneReport| -> Vec<ItemKind> {
        report.removed.iter().map(|item| item.kind).collect()
    };
    let only = |kind| PruneRule {
        filters: vec![ItemFilter::Kind(kind)],
        ..PruneRule::default()
    };
    let mount = only(ItemKind::CacheMount);
    assert_eq!(kinds(prune(&root, mount)), [ItemKind::CacheMount]);
    assert_eq!(kinds(prune(&root, PruneRule::default())), [ItemKind::Layer]);
    assert_eq!(kinds(prune(&root, only(ItemKind::Log))), [ItemKind::Log]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn reserved_room_is_kept_whatever_else_is_wanted() {
    let root = fresh_root("gc-reserved");
    let store = Store::open(&root).unwrap();
    record(&store, "a", &[layer(&store, 100_000)]);
    drop(store);
    let rule = PruneRule {
        reserved_bytes: Some(1_000_000),
        max_used_bytes: Some(0),
        min_free_bytes: Some(u64::MAX),
        ..PruneRule::default()
    };
    assert_eq!(prune(&root, rule).removed, []);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn nothing_dangles_when_collectors_and_builders_are_killed() {
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
    assert_eq!(usage.active.inodes, 1);
    std::fs::remove_dir_all(root).unwrap();
}

/// A small file system of its own, unmounted when dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// Returns nothing where file systems cannot be made.
    fn ext4(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: this test needs to be root");
            return None;
        }
        let directory = fresh_root(name);
        std::fs::create_dir_all(directory.join("mount")).unwrap();
        let image = directory.join("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(directory.join("mount")));
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
