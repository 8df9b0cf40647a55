//! Blobs that come in parts, from one process and the next.

mod support;

use std::path::PathBuf;

use kiln_disk::{Error, Patience, PruneRule, Store};
use kiln_oci::Digest;
use support::fresh_root;

/// Removes the store at the end of a test.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn store(name: &str) -> (Root, Store) {
    let root = Root(fresh_root(name));
    let store = Store::open(&root.0).unwrap();
    (root, store)
}

fn left(store: &Store) -> usize {
    let folder = store.root().join("partial");
    std::fs::read_dir(folder).unwrap().count()
}

fn content() -> Vec<u8> {
    (0..3_000_000u32).map(|index| (index % 251) as u8).collect()
}

#[test]
fn parts_in_any_order_become_a_blob() {
    let (_root, store) = store("partial-parts");
    let (content, digest) = (content(), Digest::sha256(content()));
    let partial = store.blobs().partial(&digest).unwrap();
    let order = [2, 0, 1, 5, 4, 3].map(|index| index * 500_000);
    let come = order.map(|start| {
        let part = &content[start..start + 500_000];
        partial.write_at(start as u64, part).unwrap() / 500_000
    });
    assert_eq!(come, [0, 1, 3, 3, 3, 6]);
    partial.commit(content.len() as u64).unwrap();
    assert_eq!(store.blobs().read(&digest, 1 << 30).unwrap(), content);
    assert_eq!(left(&store), 0);
}

#[test]
fn next_one_goes_on_before_the_first_hole() {
    let (_root, store) = store("partial-hole");
    let (content, digest) = (content(), Digest::sha256(content()));
    let partial = store.blobs().partial(&digest).unwrap();
    partial.write_at(0, &content[..1_000_000]).unwrap();
    partial.write_at(2_000_000, &content[2_000_000..]).unwrap();
    drop(partial);
    let partial = store.blobs().partial(&digest).unwrap();
    let found = partial.found_bytes();
    assert!((800_000..=1_000_000).contains(&found), "{found}");
    let rest = &content[found as usize..];
    partial.write_at(found, rest).unwrap();
    partial.commit(content.len() as u64).unwrap();
    assert!(store.blobs().has(&digest));
}

#[test]
fn wrong_bytes_are_removed_and_nothing_leaves_nothing() {
    let (_root, store) = store("partial-wrong");
    let digest = Digest::sha256("right");
    let partial = store.blobs().partial(&digest).unwrap();
    partial.write_at(0, b"wrong").unwrap();
    let error = partial.commit(5).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    drop(store.blobs().partial(&digest).unwrap());
    assert_eq!(left(&store), 0);
    assert!(!store.blobs().has(&digest));
}

#[test]
fn abandoned_parts_are_removed_and_owned_ones_stay() {
    let (_root, store) = store("partial-abandoned");
    let owned = store.blobs().partial(&Digest::sha256("owned")).unwrap();
    owned.write_at(0, b"o").unwrap();
    let other = store.blobs().partial(&Digest::sha256("left")).unwrap();
    other.write_at(0, b"l").unwrap();
    drop(other);
    let prune = |all| {
        let rule = PruneRule {
            all,
            ..PruneRule::default()
        };
        store.prune(&[rule], |_| Patience::Wait).unwrap();
        left(&store)
    };
    assert_eq!((prune(false), prune(true)), (2, 1));
    assert!(owned.path().exists());
}
