//! Several processes on one store, some of which are killed in the middle.
//!
//! This binary starts itself again as a child: the test `child` does what the environment
//! says, and nothing without it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_disk::{LayerId, Patience, Store};
use kiln_oci::Digest;

mod support;

use support::{ROLE, ROOT, fresh_root, kill, say_ready_and_sleep, spawn, start};

#[test]
fn child() {
    let (Ok(role), Ok(root)) = (std::env::var(ROLE), std::env::var(ROOT)) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    match role.as_str() {
        "unfinished" => leave_unfinished(&store),
        "lock" => hold_lock(&store),
        "churn" => churn(&store),
        _ => count(&store),
    }
}

fn leave_unfinished(store: &Store) {
    let layer = store.layers().begin().unwrap();
    std::fs::write(layer.upper().join("file"), "half").unwrap();
    let mut blob = store.blobs().ingest().unwrap();
    blob.write_all(&[1; 10_000]).unwrap();
    say_ready_and_sleep();
}

fn hold_lock(store: &Store) {
    let _lock = store.lock_key("step", |_| Patience::Wait).unwrap();
    say_ready_and_sleep();
}

/// Puts blobs, layers and names until killed.
fn churn(store: &Store) {
    eprintln!("ready");
    for number in 0_u64.. {
        let bytes = number.to_le_bytes().repeat(1000);
        let digest = store.blobs().put(&bytes).unwrap();
        let layer = store.layers().begin().unwrap();
        std::fs::write(layer.upper().join("file"), &bytes).unwrap();
        layer.commit(LayerId::random()).unwrap();
        let target = kiln_oci::Descriptor::new("text/plain", digest, bytes.len() as u64);
        store
            .images()
            .put(&"app".parse().unwrap(), &target)
            .unwrap();
    }
}

/// Adds one to a file a hundred times, under a lock.
fn count(store: &Store) {
    for _ in 0..100 {
        let _lock = store.lock_key("counter", |_| Patience::Wait).unwrap();
        let path = store.root().join("number");
        let number: u64 = std::fs::read_to_string(&path).map_or(0, |text| text.parse().unwrap());
        std::fs::write(&path, (number + 1).to_string()).unwrap();
    }
}

fn sessions(root: &Path) -> usize {
    std::fs::read_dir(root.join("active")).unwrap().count()
}

#[test]
fn work_of_a_living_process_stays_and_of_a_killed_one_goes() {
    let root = fresh_root("sessions");
    let child = start("unfinished", &root);
    drop(Store::open(&root).unwrap());
    assert_eq!(sessions(&root), 1, "the owner lives");
    kill(child);
    assert_eq!(sessions(&root), 1);
    drop(Store::open(&root).unwrap());
    assert_eq!(sessions(&root), 0, "the owner is dead");
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn waiter_learns_the_holder_and_gets_the_lock_when_it_is_killed() {
    let root = fresh_root("locks");
    let mut child = start("lock", &root);
    let holder = child.id();
    let store = Store::open(&root).unwrap();
    let mut told = None;
    let lock = store.lock_key("step", |waiting| {
        told = told.or(waiting.holder_process_id);
        let _ = child.kill();
        Patience::Wait
    });
    assert!(lock.is_ok());
    assert_eq!(told, Some(holder));
    child.wait().unwrap();
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn waiter_may_give_up() {
    let root = fresh_root("give-up");
    let store = Store::open(&root).unwrap();
    let _held = store.lock_key("step", |_| Patience::Wait).unwrap();
    let error = store.lock_key("step", |_| Patience::GiveUp).unwrap_err();
    assert_eq!(error.to_string(), "gave up waiting for the lock of `step`");
    assert!(store.lock_key("other", |_| Patience::GiveUp).is_ok());
    drop(store);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn lock_excludes_processes_and_threads_from_each_other() {
    let root = fresh_root("count");
    let store = Store::open(&root).unwrap();
    let children: Vec<_> = (0..3).map(|_| spawn("count", &root)).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| count(&store));
        }
    });
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let path = store.root().join("number");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "500");
    assert_eq!(std::fs::read_dir(root.join("locks")).unwrap().count(), 0);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn store_is_whole_whenever_its_writer_is_killed() {
    let root = fresh_root("churn");
    for round in 0..15_u64 {
        let child = start("churn", &root);
        std::thread::sleep(Duration::from_micros(700 * round * round));
        kill(child);
        let begun = Instant::now();
        let store = Store::open(&root).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2));
        let report = store.verify(&mut |_| {}).unwrap();
        assert_eq!(report.problems, vec![], "round {round}");
        assert_eq!(sessions(&root), 0);
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn threads_that_put_the_same_blob_all_succeed() {
    let root = fresh_root("same");
    let store = Store::open(&root).unwrap();
    let put = || store.blobs().put(b"same").unwrap();
    let digests: Vec<Digest> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(put)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        digests
            .iter()
            .all(|digest| *digest == Digest::sha256(b"same"))
    );
    assert_eq!(store.verify(&mut |_| {}).unwrap().blobs, 1);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn processes_may_make_one_store_at_once() {
    for round in 0..10 {
        let root = fresh_root(&format!("make-{round}"));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| Store::open(&root).unwrap());
            }
        });
        std::fs::remove_dir_all(root).unwrap();
    }
}
