//! What is removed when room is wanted, and what never is.

mod support;

use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_disk::{
    CacheMountKey, CacheMountPurpose, CacheMountSharing, Error, ItemFilter, ItemKind, LayerId,
    Patience, PruneReport, PruneRule, PruneScope, Store,
};
use kiln_oci::{ChainId, Descriptor, DiffId, Digest, Manifest, MediaFamily, MediaType};
use support::{digest, fresh_root, has, layer, prune, record};

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
fn collection_of_images_leaves_what_steps_made() {
    let root = fresh_root("gc-images");
    let store = Store::open(&root).unwrap();
    let (pulled, built) = (layer(&store, 1000), layer(&store, 1000));
    let config = name_image(&store, &pulled);
    store.images().remove(&"app".parse().unwrap()).unwrap();
    record(&store, "key", std::slice::from_ref(&built));
    drop(store);
    let rule = PruneRule {
        scope: PruneScope::Images,
        ..PruneRule::default()
    };
    assert_eq!(prune(&root, rule.clone()).removed.len(), 3);
    let store = Store::open(&root).unwrap();
    assert!(!store.layers().exists(&pulled) && !store.blobs().has(&config));
    assert!(store.layers().exists(&built));
    drop(store);
    // A pulled layer that a result is built upon stays.
    let store = Store::open(&root).unwrap();
    let pulled = layer(&store, 1000);
    name_image(&store, &pulled);
    store.images().remove(&"app".parse().unwrap()).unwrap();
    record(&store, "another", &[pulled.clone(), built]);
    drop(store);
    prune(&root, rule);
    assert!(Store::open(&root).unwrap().layers().exists(&pulled));
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
        purpose: CacheMountPurpose::Steps,
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
fn damaged_record_is_told_once_and_counts_as_none() {
    let root = fresh_root("gc-damaged");
    let store = Store::open(&root).unwrap();
    record(&store, "a", &[layer(&store, 10)]);
    let hex = digest("a").hex().to_owned();
    let path = root.join("records").join(&hex[..2]).join(&hex);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("step", "stop")).unwrap();
    assert_eq!(store.records().get(&digest("a")).unwrap(), None);
    assert_eq!(store.records().get(&digest("a")).unwrap(), None);
    let warnings = store.take_warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("is damaged") && warnings[0].contains(&hex));
    assert!(store.take_warnings().is_empty());
    drop(store);
    prune(&root, PruneRule::default());
    assert!(!path.exists());
    std::fs::remove_dir_all(root).unwrap();
}

/// Commits a layer whose file of 200,000 bytes is that of `other`.
fn sharing_layer(store: &Store, other: &LayerId) -> LayerId {
    let sharing = store.layers().begin().unwrap();
    let file = store.layers().diff_path(other).join("file");
    std::fs::hard_link(file, sharing.upper().join("file")).unwrap();
    let sharing = sharing.commit(LayerId::random()).unwrap();
    for layer in [other, &sharing] {
        store.layers().note_shared_files(layer).unwrap();
    }
    sharing
}

#[test]
fn files_that_layers_share_count_once_when_room_is_wanted() {
    let root = fresh_root("gc-links");
    let store = Store::open(&root).unwrap();
    let first = layer(&store, 200_000);
    record(&store, "a", std::slice::from_ref(&first));
    drop(store);
    let rule = PruneRule {
        max_used_bytes: Some(300_000),
        ..PruneRule::default()
    };
    // Remembers the size of the layer while it shares nothing.
    assert_eq!(prune(&root, rule.clone()).removed, []);
    let store = Store::open(&root).unwrap();
    let second = sharing_layer(&store, &first);
    record(&store, "b", &[second]);
    drop(store);
    for _ in 0..2 {
        assert_eq!(prune(&root, rule.clone()).removed, []);
    }
    assert_eq!(["a", "b"].map(|key| has(&root, key)), [true, true]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_shared_file_is_not_reclaimable_while_a_layer_that_stays_has_it() {
    let root = fresh_root("gc-staying");
    let store = Store::open(&root).unwrap();
    let layers = [layer(&store, 200_000), layer(&store, 200_000)];
    let sharing = layers.each_ref().map(|layer| sharing_layer(&store, layer));
    for (key, layer) in ["a", "b", "c", "d"]
        .iter()
        .zip(layers.iter().chain(&sharing))
    {
        record(&store, key, std::slice::from_ref(layer));
    }
    drop(store);
    let user = Store::open(&root).unwrap();
    for layer in [&layers[0], &sharing[1]] {
        assert!(user.layers().lease(layer).unwrap());
    }
    let store = Store::open(&root).unwrap();
    let reclaimable = store.items().unwrap().reclaimable().bytes;
    assert!(reclaimable < 100_000, "{reclaimable}");
    drop(store);
    let freed = prune(&root, PruneRule::default()).freed.bytes;
    assert!(freed < 100_000, "{freed}");
    drop(user);
    std::fs::remove_dir_all(root).unwrap();
}

/// Commits a layer upon `base` that adds one file.
fn layer_upon(store: &Store, base: &LayerId) -> LayerId {
    let upon = store.layers().begin().unwrap();
    std::fs::write(upon.upper().join("of the other layer"), "x").unwrap();
    upon.commit_upon(base).unwrap()
}

#[test]
fn what_a_layer_lies_upon_stays_as_long_as_the_layer() {
    let root = fresh_root("gc-upon");
    let store = Store::open(&root).unwrap();
    let bases = [(); 3].map(|()| layer(&store, 1000));
    let upon = bases.each_ref().map(|base| layer_upon(&store, base));
    // Found by a record, by the chain of a named image, and by nothing.
    record(&store, "a", std::slice::from_ref(&upon[0]));
    name_image(&store, &upon[1]);
    drop(store);
    let rule = PruneRule {
        max_used_bytes: Some(1 << 30),
        ..PruneRule::default()
    };
    prune(&root, rule);
    let store = Store::open(&root).unwrap();
    let are_there = |layers: &[LayerId]| {
        let layers = layers.iter();
        layers
            .map(|id| store.layers().exists(id))
            .collect::<Vec<_>>()
    };
    assert_eq!(are_there(&bases), [true, true, false]);
    assert_eq!(are_there(&upon), [true, true, false]);
    let items = store.items().unwrap();
    let base = items
        .items
        .iter()
        .find(|item| item.id == bases[1].to_string());
    assert_eq!(
        base.map(|item| item.state),
        Some(kiln_disk::ItemState::Named)
    );
    // In use by a living process, then not any more.
    assert!(store.layers().lease(&upon[0]).unwrap());
    let everything = PruneRule {
        all: true,
        ..PruneRule::default()
    };
    prune(&root, everything.clone());
    assert_eq!(
        are_there(&[bases[0].clone(), upon[0].clone()]),
        [true, true]
    );
    drop(store);
    prune(&root, everything);
    let store = Store::open(&root).unwrap();
    let left = store.layers().list().unwrap();
    let mut named = [bases[1].clone(), upon[1].clone()];
    named.sort();
    assert_eq!(left, named);
    drop(store);
    std::fs::remove_dir_all(root).unwrap();
}
