//! What goes into a store comes out of it; what is unfinished or wrong does not.

use std::io::Write;
use std::path::PathBuf;

use kiln_disk::{Error, LayerFacts, LayerId, LayerOrigin, Patience, PruneRule, Record, Store};
use kiln_oci::{ChainId, Descriptor, DiffId, Digest, Reference};

struct Fixture {
    root: PathBuf,
    store: Store,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("kiln-disk-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let store = Store::open(&root).expect("an empty path becomes a store");
        Self { root, store }
    }

    fn entries(&self, folder: &str) -> usize {
        std::fs::read_dir(self.root.join(folder)).map_or(0, Iterator::count)
    }

    fn layer(&self, content: &str) -> LayerId {
        let active = self.store.layers().begin().unwrap();
        std::fs::write(active.upper().join("file"), content).unwrap();
        active.commit(LayerId::random()).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

#[test]
fn blob_is_found_under_its_digest() {
    let fixture = Fixture::new("blob");
    let digest = fixture.store.blobs().put(b"content").unwrap();
    assert_eq!(digest, Digest::sha256(b"content"));
    assert_eq!(
        fixture.store.blobs().read(&digest, 100).unwrap(),
        b"content"
    );
    assert_eq!(fixture.store.blobs().size(&digest).unwrap(), 7);
    let path = fixture.root.join("blobs/sha256").join(digest.hex());
    assert_eq!(std::fs::read(path).unwrap(), b"content");
}

#[test]
fn blob_with_another_digest_or_size_than_announced_is_discarded() {
    let fixture = Fixture::new("wrong-blob");
    let expected = Digest::sha256(b"other");
    let write = || {
        let mut writer = fixture.store.blobs().ingest().unwrap();
        writer.write_all(b"bytes").unwrap();
        writer
    };
    let error = write().commit(Some((&expected, 5))).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let error = write()
        .commit(Some((&Digest::sha256(b"bytes"), 6)))
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::WrongSize {
                expected: 6,
                found: 5,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fixture.entries("blobs/sha256"), 0);
}

#[test]
fn blob_of_sha512_is_checked_too() {
    let fixture = Fixture::new("sha512");
    let digest = Digest::of(kiln_oci::Algorithm::Sha512, b"bytes");
    let mut writer = fixture.store.blobs().ingest().unwrap();
    writer.write_all(b"bytes").unwrap();
    assert_eq!(writer.commit(Some((&digest, 5))).unwrap(), digest);
    assert!(fixture.store.blobs().has(&digest));
    let report = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!((report.blobs, report.problems), (1, vec![]));
}

#[test]
fn damaged_blob_is_refused_by_read_and_named_by_verify() {
    let fixture = Fixture::new("damage");
    let digest = fixture.store.blobs().put(b"precious").unwrap();
    let path = fixture.store.blobs().path(&digest);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"pretious").unwrap();

    let report = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].path, path);
    assert!(
        report.problems[0].reason.contains("has digest sha256:"),
        "{}",
        report.problems[0]
    );
    let error = fixture.store.blobs().read(&digest, 100).unwrap_err();
    assert!(matches!(error, Error::BlobDamaged { .. }), "{error}");
    assert!(!fixture.store.blobs().has(&digest), "it is set aside");
    assert_eq!(fixture.entries("damaged"), 1);
    assert_eq!(fixture.store.blobs().put(b"precious").unwrap(), digest);
}

#[test]
fn only_who_wrote_a_blob_need_not_check_it() {
    let fixture = Fixture::new("made-here");
    let large = vec![7; 40 << 20];
    let mut writer = fixture.store.blobs().ingest_hashed().unwrap();
    for part in large.chunks(1 << 20) {
        std::io::Write::write_all(&mut writer, part).unwrap();
    }
    let digest = Digest::sha256(&large);
    assert!(!fixture.store.blobs().was_made_here(&digest));
    writer.commit(Some((&digest, large.len() as u64))).unwrap();
    assert!(fixture.store.blobs().was_made_here(&digest));
    let other = Store::open(fixture.store.root()).unwrap();
    assert!(!other.blobs().was_made_here(&digest));
    assert!(other.blobs().is_sound(&digest).unwrap());
}

#[test]
fn damaged_blob_is_noticed_with_its_last_byte_or_counts_as_none() {
    let fixture = Fixture::new("checked");
    let blobs = fixture.store.blobs();
    let damage = |content: &[u8]| {
        let digest = blobs.put(content).unwrap();
        let mut changed = content.to_vec();
        changed[0] ^= 1;
        std::fs::remove_file(blobs.path(&digest)).unwrap();
        std::fs::write(blobs.path(&digest), changed).unwrap();
        digest
    };
    let read = |digest: &Digest| {
        let mut bytes = Vec::new();
        let mut blob = blobs.open_checked(digest).unwrap();
        std::io::Read::read_to_end(&mut blob, &mut bytes).map(|_| bytes)
    };
    let sound = blobs.put(b"sound").unwrap();
    assert_eq!(read(&sound).unwrap(), b"sound");
    let digest = damage(b"first");
    assert!(
        read(&digest)
            .unwrap_err()
            .to_string()
            .contains("was damaged")
    );
    assert!(!blobs.has(&digest));
    let digest = damage(b"second");
    assert_eq!(blobs.read_if_sound(&digest, 100).unwrap(), None);
    assert!(fixture.store.take_warnings()[0].contains("was damaged"));
    let digest = damage(b"third");
    assert!(!blobs.is_sound(&digest).unwrap() && blobs.is_sound(&sound).unwrap());
    // What is put anew takes the place of what is damaged.
    let digest = damage(b"fourth");
    assert_eq!(blobs.put(b"fourth").unwrap(), digest);
    assert_eq!(blobs.read(&digest, 100).unwrap(), b"fourth");
}

#[test]
fn changed_file_of_a_layer_is_noticed_once_the_layer_was_seen() {
    let fixture = Fixture::new("seen");
    let layer = fixture.layer("hello");
    let key = Digest::sha256(b"key");
    let record = Record {
        result: vec![layer.clone()],
        canonical_key: key.clone(),
        created_seconds: 7,
        description: String::new(),
        build_id: String::new(),
    };
    fixture.store.records().put(&key, &record).unwrap();
    let first = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!((first.layers, first.layers_unknown), (0, 1));
    let second = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!((second.layers, second.layers_unknown), (1, 0));
    let path = fixture.store.layers().diff_path(&layer);
    std::fs::write(path.join("file"), "jello").unwrap();
    let third = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!(third.problems.len(), 1);
    assert_eq!(third.problems[0].path, path);
    assert!(
        third.problems[0].reason.contains("its archive has digest"),
        "{third:?}"
    );

    // This process uses it: nobody takes it away.
    let repaired = fixture.store.repair(&mut |_| {}).unwrap();
    let expected = [(third.problems[0].clone(), kiln_disk::Remedy::InUse)];
    assert_eq!(repaired.remedies, expected);
    assert_eq!(repaired.report.problems, third.problems);
}

#[test]
fn unfinished_work_is_removed_when_dropped() {
    let fixture = Fixture::new("unfinished");
    let layer = fixture.store.layers().begin().unwrap();
    std::fs::write(layer.upper().join("file"), "x").unwrap();
    let mut blob = fixture.store.blobs().ingest().unwrap();
    blob.write_all(b"half").unwrap();
    let (directory, path) = (layer.directory().to_owned(), blob.path());
    assert!(directory.exists() && path.exists());
    drop((layer, blob));
    assert!(!directory.exists() && !path.exists());
}

#[test]
fn what_overlayfs_left_of_a_committed_layer_goes_when_there_is_time() {
    let mut fixture = Fixture::new("mounted");
    let commit = |store: &Store| {
        let layer = store.layers().begin().unwrap();
        let directory = layer.directory().to_owned();
        let id = layer.commit_mounted(LayerId::random()).unwrap();
        assert!(store.layers().exists(&id));
        assert!(directory.join("work").exists() && !directory.join("upper").exists());
        directory
    };
    let directory = commit(&fixture.store);
    fixture.store.remove_discarded();
    assert!(!directory.exists());
    // Else when the store is closed.
    let directory = commit(&fixture.store);
    let other = std::env::temp_dir().join(format!("kiln-disk-other-{}", std::process::id()));
    fixture.store = Store::open(&other).unwrap();
    assert!(!directory.exists());
    let _ = std::fs::remove_dir_all(&other);
}

#[test]
fn blobs_that_are_put_together_are_all_there() {
    let fixture = Fixture::new("together");
    let blobs = fixture.store.blobs();
    let contents: [&[u8]; 3] = [b"one", b"two", b"one"];
    // One of them is there already.
    blobs.put(b"two").unwrap();
    blobs.put_all(&contents).unwrap();
    for content in contents {
        let digest = Digest::sha256(content);
        assert_eq!(blobs.read(&digest, 10).unwrap(), content);
        assert!(blobs.was_made_here(&digest));
    }
    blobs.put_all(&[]).unwrap();
    let problems = fixture.store.verify(&mut |_| {}).unwrap().problems;
    assert_eq!(problems, vec![]);
}

#[test]
fn committed_layer_is_its_upper_directory() {
    let fixture = Fixture::new("layer");
    let id = fixture.layer("hello");
    let path = fixture.store.layers().diff_path(&id);
    assert_eq!(std::fs::read_to_string(path.join("file")).unwrap(), "hello");
    assert_eq!(fixture.store.layers().list().unwrap(), vec![id]);
}

#[test]
fn layer_upon_another_is_there_with_it_and_never_without() {
    let fixture = Fixture::new("upon");
    let layers = fixture.store.layers();
    let base = fixture.layer("hello");
    let begin = || {
        let active = layers.begin().unwrap();
        std::fs::write(active.upper().join("other"), "x").unwrap();
        active
    };
    let upon = begin().commit_upon(&base).unwrap();
    assert_eq!(layers.base(&upon), Some(base.clone()));
    let directories = layers.directories(&upon);
    assert_eq!(directories[0], layers.diff_path(&base));
    assert_eq!(std::fs::read(directories[1].join("other")).unwrap(), b"x");
    assert_eq!(
        layers.with_bases(&[base.clone(), upon.clone()]),
        [&base, &base, &upon].map(Clone::clone)
    );
    assert!(layers.exists(&upon) && layers.lease(&upon).unwrap());
    for nothing_to_lie_upon in [&upon, &LayerId::random()] {
        let error = begin().commit_upon(nothing_to_lie_upon).unwrap_err();
        assert!(matches!(error, Error::LayerMissing(_)), "{error}");
    }
    std::fs::remove_dir_all(layers.diff_path(&base)).unwrap();
    assert!(!layers.exists(&upon) && !layers.lease(&upon).unwrap());
    assert_eq!(layers.list().unwrap(), []);
}

#[test]
fn damage_is_noticed_in_a_layer_and_in_what_it_lies_upon() {
    for damaged in ["file", "other"] {
        let fixture = Fixture::new(&format!("upon-{damaged}"));
        let layers = fixture.store.layers();
        let active = layers.begin().unwrap();
        std::fs::write(active.upper().join("other"), "x").unwrap();
        let upon = active.commit_upon(&fixture.layer("hello")).unwrap();
        let key = Digest::sha256(b"key");
        let record = Record {
            result: vec![upon.clone()],
            canonical_key: key.clone(),
            created_seconds: 7,
            description: String::new(),
            build_id: String::new(),
        };
        fixture.store.records().put(&key, &record).unwrap();
        let verify = || fixture.store.verify(&mut |_| {}).unwrap();
        assert_eq!(verify().layers_unknown, 2);
        assert_eq!((verify().layers, verify().problems), (2, vec![]));
        let directories = layers.directories(&upon);
        let directory = &directories[usize::from(damaged == "other")];
        std::fs::write(directory.join(damaged), "jello").unwrap();
        let paths: Vec<_> = verify().problems.into_iter().map(|one| one.path).collect();
        // What lies upon a damaged layer is damaged.
        assert!(paths.contains(&directories[1]), "{paths:?}");
        assert_eq!(paths.contains(&directories[0]), damaged == "file");
    }
}

#[test]
fn facts_of_a_layer_are_remembered_and_need_the_layer() {
    let fixture = Fixture::new("facts");
    let id = fixture.layer("hello");
    let facts = LayerFacts {
        diff_id: DiffId(Digest::sha256(b"archive")),
        uncompressed_size: 1024,
        origin: LayerOrigin::unpacked(&[]),
        created_seconds: 1_700_000_000,
    };
    assert_eq!(fixture.store.layers().facts(&id).unwrap(), None);
    fixture.store.layers().set_facts(&id, &facts).unwrap();
    assert_eq!(
        fixture.store.layers().facts(&id).unwrap(),
        Some(facts.clone())
    );
    let error = fixture
        .store
        .layers()
        .set_facts(&LayerId::random(), &facts)
        .unwrap_err();
    assert!(matches!(error, Error::LayerMissing(_)), "{error}");
}

#[test]
fn layer_that_a_chain_names_stays_and_one_that_none_names_is_not_trusted() {
    let fixture = Fixture::new("chain");
    let chain_id = ChainId(Digest::sha256(b"chain"));
    let id = LayerId::of_chain(&chain_id);
    let commit = |content| {
        let active = fixture.store.layers().begin().unwrap();
        std::fs::write(active.upper().join("file"), content).unwrap();
        active.commit(id.clone()).unwrap()
    };
    assert_eq!(commit("first"), id);
    assert_eq!(fixture.store.chains().get(&chain_id).unwrap(), None);
    let second = commit("second");
    assert_ne!(second, id, "the first may be what a power cut left");

    fixture.store.chains().set(&chain_id, &id).unwrap();
    assert_eq!(commit("third"), id);
    assert_eq!(
        fixture.store.chains().get(&chain_id).unwrap(),
        Some(id.clone())
    );
    let file = fixture.store.layers().diff_path(&id).join("file");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "first");
}

#[test]
fn record_counts_only_while_whole_and_with_all_its_layers() {
    let fixture = Fixture::new("record");
    let layer = fixture.layer("x");
    let key = Digest::sha256(b"key");
    let record = Record {
        result: vec![layer.clone()],
        canonical_key: key.clone(),
        created_seconds: 7,
        description: "RUN true".to_owned(),
        build_id: String::new(),
    };
    let records = fixture.store.records();
    assert_eq!(records.get(&key).unwrap(), None);
    records.put(&key, &record).unwrap();
    assert_eq!(records.get(&key).unwrap(), Some(record.clone()));

    let path = fixture
        .root
        .join("records")
        .join(&key.hex()[..2])
        .join(key.hex());
    std::fs::write(&path, "{\"result\":[").unwrap();
    assert_eq!(records.get(&key).unwrap(), None);
    assert_eq!(
        fixture.store.verify(&mut |_| {}).unwrap().problems[0].path,
        path
    );

    records.put(&key, &record).unwrap();
    std::fs::remove_dir_all(fixture.root.join("layers").join(layer.as_str())).unwrap();
    assert_eq!(records.get(&key).unwrap(), None);
    let report = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!(
        report.problems[0].reason,
        format!("layer {layer} is not in the store")
    );
}

#[test]
fn flipped_bit_in_a_record_or_a_name_is_noticed() {
    let fixture = Fixture::new("flip");
    let key = Digest::sha256(b"key");
    let record = Record {
        result: vec![],
        canonical_key: key.clone(),
        created_seconds: 7,
        description: String::new(),
        build_id: String::new(),
    };
    fixture.store.records().put(&key, &record).unwrap();
    let name: Reference = "app".parse().unwrap();
    let digest = fixture.store.blobs().put(b"x").unwrap();
    let target = Descriptor::new("text/plain", digest, 1);
    fixture.store.images().put(&name, &target).unwrap();
    let flip = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("_seconds\":"), "{text}");
        std::fs::write(&path, text.replace("_seconds\":", "_seconds\": 1")).unwrap();
        path
    };
    let folder = fixture.root.join("records").join(&key.hex()[..2]);
    let record_path = flip(folder.join(key.hex()));
    let name_digest = Digest::sha256(b"docker.io/library/app:latest");
    let name_path = flip(fixture.root.join("images").join(name_digest.hex()));

    assert_eq!(fixture.store.records().get(&key).unwrap(), None);
    let error = fixture.store.images().get(&name).unwrap_err();
    assert!(matches!(error, Error::DamagedName { .. }), "{error}");
    let problems = fixture.store.verify(&mut |_| {}).unwrap().problems;
    let paths: Vec<_> = problems.into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, [record_path, name_path]);
}

#[test]
fn damaged_name_is_told_beside_the_others_keeps_everything_and_can_go() {
    let fixture = Fixture::new("damaged-name");
    let images = fixture.store.images();
    let digest = fixture.store.blobs().put(b"x").unwrap();
    let target = Descriptor::new("text/plain", digest.clone(), 1);
    let [whole, changed, emptied]: [Reference; 3] =
        ["whole", "changed", "emptied"].map(|name| name.parse().unwrap());
    let path = |name: &Reference| {
        let digest = Digest::sha256(name.to_string().as_bytes());
        fixture.root.join("images").join(digest.hex())
    };
    for name in [&whole, &changed, &emptied] {
        images.put(name, &target).unwrap();
    }
    let text = std::fs::read_to_string(path(&changed)).unwrap();
    std::fs::write(path(&changed), text.replace("\"size\":1", "\"size\":2")).unwrap();
    std::fs::write(path(&emptied), "").unwrap();

    let listed = images.list_sound().unwrap();
    let names: Vec<_> = listed.images.iter().map(|image| &image.name).collect();
    assert_eq!(names, [&whole]);
    let mut said: Vec<_> = listed.damaged.iter().map(ToString::to_string).collect();
    said.sort();
    let (changed_path, emptied_path) = (path(&changed), path(&emptied));
    let expected = [
        format!("the name {} of an image is damaged", emptied_path.display()),
        format!(
            "the name `docker.io/library/changed:latest` ({}) of an image is damaged",
            changed_path.display()
        ),
    ];
    assert_eq!(said, expected);
    assert!(images.list().is_err());
    // What they lead to is not known: nothing may be taken for unneeded.
    let refused = fixture
        .store
        .prune(&[PruneRule::default()], |_| Patience::Wait);
    assert!(matches!(refused, Err(Error::DamagedName { .. })));
    assert!(fixture.store.blobs().has(&digest));

    assert_eq!(images.remove(&changed).unwrap(), None);
    images.put(&emptied, &target).unwrap();
    assert_eq!(images.list().unwrap().len(), 2);
}

#[test]
fn record_that_a_power_cut_emptied_counts_as_none() {
    let fixture = Fixture::new("emptied");
    let key = Digest::sha256(b"key");
    let folder = fixture.root.join("records").join(&key.hex()[..2]);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(key.hex()), "").unwrap();
    assert_eq!(fixture.store.records().get(&key).unwrap(), None);
    assert_eq!(fixture.store.verify(&mut |_| {}).unwrap().problems, vec![]);
}

#[test]
fn name_leads_to_the_image_that_got_it_last() {
    let fixture = Fixture::new("name");
    let descriptor = |bytes: &[u8]| {
        let digest = fixture.store.blobs().put(bytes).unwrap();
        Descriptor::new(
            "application/vnd.oci.image.manifest.v1+json",
            digest,
            bytes.len() as u64,
        )
    };
    let name: Reference = "app".parse().unwrap();
    let images = fixture.store.images();
    assert_eq!(images.get(&name).unwrap(), None);
    images.put(&name, &descriptor(b"one")).unwrap();
    images.put(&name, &descriptor(b"second")).unwrap();
    images
        .put(&"other:1".parse().unwrap(), &descriptor(b"one"))
        .unwrap();

    assert_eq!(
        images.get(&name).unwrap().unwrap().target,
        descriptor(b"second")
    );
    let names: Vec<_> = images
        .list()
        .unwrap()
        .iter()
        .map(|image| image.name.to_string())
        .collect();
    assert_eq!(
        names,
        ["docker.io/library/app:latest", "docker.io/library/other:1"]
    );
    assert!(images.remove(&name).unwrap().is_some());
    assert_eq!(images.get(&name).unwrap(), None);
    assert_eq!(images.remove(&name).unwrap(), None);
}

#[test]
fn name_without_its_manifest_is_a_problem() {
    let fixture = Fixture::new("dangling");
    let digest = fixture.store.blobs().put(b"manifest").unwrap();
    let target = Descriptor::new(
        "application/vnd.oci.image.manifest.v1+json",
        digest.clone(),
        8,
    );
    fixture
        .store
        .images()
        .put(&"app".parse().unwrap(), &target)
        .unwrap();
    assert_eq!(fixture.store.verify(&mut |_| {}).unwrap().problems, vec![]);
    fixture.store.blobs().remove(&digest).unwrap();
    let report = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!(
        report.problems[0].reason,
        format!("blob {digest} is not in the store")
    );
}

#[test]
fn log_is_appended_to_and_listed() {
    let fixture = Fixture::new("log");
    for line in ["one\n", "two\n"] {
        fixture
            .store
            .logs()
            .writer("build", "3")
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }
    let paths = fixture.store.logs().list("build").unwrap();
    assert_eq!(paths, vec![fixture.store.logs().path("build", "3")]);
    assert_eq!(std::fs::read_to_string(&paths[0]).unwrap(), "one\ntwo\n");
}

#[test]
fn usage_counts_what_is_stored() {
    let fixture = Fixture::new("usage");
    let before = fixture.store.usage().unwrap();
    fixture.store.blobs().put(&vec![7; 100_000]).unwrap();
    let after = fixture.store.usage().unwrap();
    assert!(
        after.blobs.bytes >= before.blobs.bytes + 100_000,
        "{before:?} {after:?}"
    );
    assert!(after.total().bytes > before.total().bytes);
}
