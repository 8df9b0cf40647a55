//! Cache mounts used by several processes, some of which are killed.

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_disk::{
    CacheMountKey, CacheMountPurpose, CacheMountSharing, CacheMountUse, Error, Patience, Store,
    WaitingForTurn,
};
use kiln_oci::Digest;
use support::{ROLE, ROOT, fresh_root, kill, say_ready_and_sleep, spawn, start};

fn key(id: &str) -> CacheMountKey {
    CacheMountKey {
        id: id.to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        seed: None,
        purpose: CacheMountPurpose::Steps,
    }
}

fn wait(_: &WaitingForTurn) -> Patience {
    Patience::Wait
}

fn enter(store: &Store, id: &str, sharing: CacheMountSharing) -> CacheMountUse {
    let user = format!("test {}", std::process::id());
    let mounts = store.cache_mounts();
    mounts.enter(&key(id), sharing, &user, &mut wait).unwrap()
}

/// Returns who is in the way, without waiting.
fn obstacle(store: &Store, id: &str, sharing: CacheMountSharing) -> Option<WaitingForTurn> {
    let mut seen = None;
    let entered = store
        .cache_mounts()
        .enter(&key(id), sharing, "test", &mut |waiting| {
            seen = Some(waiting.clone());
            Patience::GiveUp
        });
    assert_eq!(entered.is_err(), seen.is_some());
    seen
}

fn directory(used: &CacheMountUse) -> PathBuf {
    used.directory(|_| Ok::<_, Error>(())).unwrap().to_owned()
}

#[test]
fn child() {
    let (Ok(role), Ok(root)) = (std::env::var(ROLE), std::env::var(ROOT)) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    match role.as_str() {
        "count" => count(&store),
        "fill" => fill_slowly(&store),
        role => {
            let sharing = match role {
                "private" => CacheMountSharing::Private,
                "shared" => CacheMountSharing::Shared,
                _ => CacheMountSharing::Locked,
            };
            let used = enter(&store, "m", sharing);
            std::fs::write(directory(&used).join("by"), role).unwrap();
            say_ready_and_sleep();
        }
    }
}

/// Adds one to a number in a file a hundred times, in a locked mount.
fn count(store: &Store) {
    for _ in 0..100 {
        let used = enter(store, "counter", CacheMountSharing::Locked);
        let path = directory(&used).join("number");
        let number: u64 = std::fs::read_to_string(&path).map_or(0, |text| text.parse().unwrap());
        std::fs::write(&path, (number + 1).to_string()).unwrap();
    }
}

fn fill_slowly(store: &Store) {
    let used = enter(store, "m", CacheMountSharing::Shared);
    let filled = used.directory(|fresh| {
        std::fs::write(fresh.join("half"), "").unwrap();
        say_ready_and_sleep();
        Ok::<_, Error>(())
    });
    filled.unwrap();
}

#[test]
fn processes_that_lock_a_mount_lose_no_update() {
    let root = fresh_root("mount-counter");
    let children = [(); 4].map(|()| spawn("count", &root));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(&root).unwrap();
    let used = enter(&store, "counter", CacheMountSharing::Locked);
    let number = std::fs::read_to_string(directory(&used).join("number")).unwrap();
    assert_eq!(number, "400");
    assert_eq!(used.facts().uses, 401);
    drop((used, store));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn waiter_learns_who_locks_the_mount_and_goes_on_when_it_is_killed() {
    let root = fresh_root("mount-killed");
    let holder = start("locked", &root);
    let store = Store::open(&root).unwrap();
    let waiting = obstacle(&store, "m", CacheMountSharing::Locked).unwrap();
    assert_eq!(waiting.process_id, Some(holder.id()));
    assert_eq!(waiting.user, format!("test {}", holder.id()));
    assert!(obstacle(&store, "m", CacheMountSharing::Shared).is_some());
    assert!(obstacle(&store, "other", CacheMountSharing::Locked).is_none());
    kill(holder);
    let started = Instant::now();
    let used = enter(&store, "m", CacheMountSharing::Locked);
    assert!(started.elapsed() < Duration::from_secs(1));
    let by = std::fs::read_to_string(directory(&used).join("by")).unwrap();
    assert_eq!(by, "locked", "what the killed one left is still there");
    drop((used, store));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn second_private_user_gets_a_directory_of_its_own_that_the_next_reuses() {
    let root = fresh_root("mount-private");
    let first = start("private", &root);
    let store = Store::open(&root).unwrap();
    let second = enter(&store, "m", CacheMountSharing::Private);
    let path = directory(&second);
    assert!(!path.join("by").exists());
    std::fs::write(path.join("by"), "second").unwrap();
    drop(second);
    let third = enter(&store, "m", CacheMountSharing::Private);
    assert_eq!(directory(&third), path, "the freed one is used again");
    kill(first);
    let fourth = enter(&store, "m", CacheMountSharing::Private);
    assert!(
        directory(&fourth).ends_with("0"),
        "the killed one's is free"
    );
    drop((third, fourth, store));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn shared_users_do_not_wait_for_each_other() {
    let root = fresh_root("mount-shared");
    let first = start("shared", &root);
    let store = Store::open(&root).unwrap();
    assert!(obstacle(&store, "m", CacheMountSharing::Shared).is_none());
    assert!(obstacle(&store, "m", CacheMountSharing::Locked).is_some());
    let listed = store.cache_mounts().list().unwrap();
    assert!(listed[0].is_in_use);
    assert_eq!(store.cache_mounts().remove(&listed[0].name).unwrap(), None);
    kill(first);
    let freed = store.cache_mounts().remove(&listed[0].name).unwrap();
    assert_eq!(freed, Some(listed[0].usage));
    assert_eq!(store.cache_mounts().list().unwrap(), []);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn waiters_have_their_turns_in_the_order_in_which_they_came() {
    let root = fresh_root("mount-order");
    let store = Store::open(&root).unwrap();
    let held = enter(&store, "m", CacheMountSharing::Locked);
    let order = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (store, order) = (&store, &order);
            scope.spawn(move || {
                let _used = enter(store, "m", CacheMountSharing::Locked);
                order.lock().unwrap().push(number);
            });
            // A ticket each, before the next one comes.
            let tickets = || std::fs::read_dir(turns(&root)).unwrap().count();
            while tickets() < number + 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(held);
    });
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    std::fs::remove_dir_all(root).unwrap();
}

fn turns(root: &Path) -> PathBuf {
    root.join("turns")
        .join(format!("{}-0", key("m").folder_name()))
}

#[test]
fn mount_whose_filling_was_killed_is_filled_anew() {
    let root = fresh_root("mount-fill");
    kill(start("fill", &root));
    let store = Store::open(&root).unwrap();
    let used = enter(&store, "m", CacheMountSharing::Shared);
    let path = used.directory(|fresh| {
        assert_eq!(std::fs::read_dir(fresh).unwrap().count(), 0);
        std::fs::write(fresh.join("whole"), "").unwrap();
        Ok::<_, Error>(())
    });
    let path = path.unwrap();
    assert!(path.join("whole").exists() && !path.join("half").exists());
    drop((used, store));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn mode_owner_seed_and_purpose_are_part_of_the_identity() {
    let plain = key("m");
    let others = [
        CacheMountKey {
            mode: 0o700,
            ..plain.clone()
        },
        CacheMountKey {
            uid: 1,
            ..plain.clone()
        },
        CacheMountKey {
            gid: 1,
            ..plain.clone()
        },
        CacheMountKey {
            seed: Some(Digest::sha256(b"")),
            ..plain.clone()
        },
        CacheMountKey {
            purpose: CacheMountPurpose::GitRepository,
            ..plain.clone()
        },
        key("../../m"),
    ];
    for other in others {
        assert_ne!(other.folder_name(), plain.folder_name());
        assert_eq!(other.folder_name().len(), 64);
    }
}
