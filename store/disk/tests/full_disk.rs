//! A full disk: a typed error that names the path, nothing partial left, and life goes on.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use kiln_disk::{Error, Store};

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(name: &str) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("kiln-full-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"])
            .arg(&path);
        if command.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        eprintln!("skipped: mounting a small file system needs root");
        std::fs::remove_dir(&path).unwrap();
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn full_disk_is_said_with_the_path_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount("blob") else {
        return;
    };
    let store = Store::open(&disk.0).unwrap();
    let small = store.blobs().put(b"small").unwrap();
    let before = store.usage().unwrap();

    let error = store.blobs().put(&vec![3; 2 << 20]).unwrap_err();
    assert!(error.is_out_of_space(), "{error:?}");
    let Error::Io { path, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(path.starts_with(&disk.0));
    assert_eq!(store.usage().unwrap(), before);
    let report = store.verify(&mut |_| {}).unwrap();
    assert_eq!((report.blobs, report.problems), (1, vec![]));

    assert!(store.blobs().has(&small));
    store.blobs().put(&vec![3; 100_000]).unwrap();
}

#[test]
fn store_opens_and_names_can_be_removed_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount("open") else {
        return;
    };
    let store = Store::open(&disk.0).unwrap();
    let digest = store.blobs().put(&vec![9; 10_000]).unwrap();
    let target = kiln_oci::Descriptor::new("text/plain", digest.clone(), 10_000);
    store
        .images()
        .put(&"app".parse().unwrap(), &target)
        .unwrap();
    let mut filler = std::fs::File::create(disk.0.join("logs/filler")).unwrap();
    while filler.write(&[0; 4096]).is_ok() {}

    drop(store);
    let store = Store::open(&disk.0).unwrap();
    let error = store
        .images()
        .put(&"app".parse().unwrap(), &target)
        .unwrap_err();
    assert!(error.is_out_of_space(), "{error:?}");
    assert_eq!(
        store
            .images()
            .get(&"app".parse().unwrap())
            .unwrap()
            .unwrap()
            .target,
        target
    );
    store.images().remove(&"app".parse().unwrap()).unwrap();
    store.blobs().remove(&digest).unwrap();
    store.blobs().put(b"fits again").unwrap();
}
