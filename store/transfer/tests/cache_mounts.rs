//! Cache mounts from one machine to another: all that files are, and only what changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use kiln_disk::{
    CacheMountKey, CacheMountPurpose, CacheMountSharing, CacheMountUse, Patience, Store,
};
use kiln_oci::{Descriptor, Manifest, Reference};
use kiln_registry::{Client, ClientOptions};
use kiln_testdata::registry::FakeRegistry;
use kiln_transfer::cache_mount::{
    Error, InDirectory, InRegistry, Place, RootDirectory, Summary, export, find, unpack_over,
    write_archive,
};
use rustix::fs::{XattrFlags, setxattr};
use tempfile::TempDir;

struct Machine {
    store: Store,
    _directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(&directory.path().join("store")).unwrap(),
            _directory: directory,
        }
    }

    /// Holds the mount of the tests, made if it is new.
    fn mount(&self) -> CacheMountUse {
        let key = CacheMountKey {
            id: "/root/.cache".to_owned(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            seed: None,
            purpose: CacheMountPurpose::Steps,
        };
        let sharing = CacheMountSharing::Locked;
        let mounts = self.store.cache_mounts();
        let used = mounts.enter(&key, sharing, "test", &mut |_| Patience::Wait);
        let used = used.unwrap();
        used.directory(|_| Ok::<_, kiln_disk::Error>(())).unwrap();
        used
    }

    fn export(&self, place: &dyn Place) -> Summary {
        export(&self.store, &self.mount(), place, &|_| {}).unwrap()
    }

    fn import(&self, place: &dyn Place) -> Result<Summary, Error> {
        find(place)?.import(&self.store, &self.mount(), &|_| {})
    }
}

/// Bytes that compress badly, other ones for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

fn fill(mount: &Path) {
    fs::create_dir_all(mount.join("registry/deep")).unwrap();
    fs::write(mount.join("registry/big"), noise(1, 3_000_000)).unwrap();
    fs::write(mount.join("registry/deep/tool"), "#!/bin/sh\n").unwrap();
    let executable = fs::Permissions::from_mode(0o4751);
    fs::set_permissions(mount.join("registry/deep/tool"), executable).unwrap();
    fs::hard_link(mount.join("registry/big"), mount.join("same")).unwrap();
    symlink("registry/deep", mount.join("link")).unwrap();
    let flags = XattrFlags::empty();
    setxattr(mount.join("registry/deep"), "user.kiln", b"value", flags).unwrap();
    for number in 0..300 {
        let path = mount.join(format!("small-{number}"));
        fs::write(path, noise(number + 10, 5_000)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        chown(mount.join("small-7"), Some(1000), Some(1001)).unwrap();
    }
    fs::set_permissions(mount, fs::Permissions::from_mode(0o1777)).unwrap();
}

/// Everything that is to be the same: what files are and hold, and which are one.
fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut picture = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content;
        if metadata.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            names.sort_by(|left, right| right.cmp(left));
            pending.extend(names);
            let mut value = [0; 10];
            let length = rustix::fs::getxattr(&path, "user.kiln", &mut value[..]);
            content = format!("{:?}", length.map(|length| value[..length].to_vec()));
        } else if metadata.is_symlink() {
            content = fs::read_link(&path).unwrap().display().to_string();
        } else {
            let first = first_names.entry(metadata.ino()).or_insert(path.clone());
            let bytes = fs::read(&path).unwrap();
            content = format!(
                "{} {} {}",
                first.strip_prefix(root).unwrap().display(),
                bytes.len(),
                kiln_oci::Digest::sha256(&bytes)
            );
        }
        let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
        let is_root = path == root;
        let mtime = if is_root { 0 } else { metadata.mtime() };
        let name = path.strip_prefix(root).unwrap().to_owned();
        picture.insert(name, format!("{mode:o} {uid}:{gid} {mtime} {content}"));
    }
    picture
}

fn in_directory(directory: &Path) -> InDirectory {
    InDirectory {
        directory: directory.join("exported"),
        tag: "latest".to_owned(),
    }
}

#[test]
fn mount_comes_back_from_a_directory_with_all_that_its_files_are() {
    let (here, there) = (Machine::new(), Machine::new());
    let directory = tempfile::tempdir().unwrap();
    let place = in_directory(directory.path());
    fill(here.mount().path());
    let sent = here.export(&place);
    assert!(sent.moved_packs >= 1 && sent.moved_bytes > 4_000_000);
    assert!(
        sent.moved_bytes < sent.archive_bytes,
        "the hard link is sent once"
    );
    fs::write(there.mount().path().join("old"), "").unwrap();
    let fetched = there.import(&place).unwrap();
    assert_eq!(fetched.archive_bytes, sent.archive_bytes);
    assert_eq!(picture(there.mount().path()), picture(here.mount().path()));
}

#[test]
fn only_what_changed_travels_to_a_registry_and_back() {
    let (here, there) = (Machine::new(), Machine::new());
    let registry = FakeRegistry::start();
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(ClientOptions {
        docker_config: Some(directory.path().to_owned()),
        ..ClientOptions::default()
    })
    .unwrap();
    let reference: Reference = format!("{}/team/cache:main", registry.address())
        .parse()
        .unwrap();
    let place = InRegistry {
        client: &client,
        reference: &reference,
    };
    assert!(matches!(there.import(&place), Err(Error::Absent { .. })));
    fill(here.mount().path());
    let first = here.export(&place);
    there.import(&place).unwrap();

    let again = here.export(&place);
    assert_eq!(again.moved_packs, 0, "nothing changed");
    fs::write(here.mount().path().join("small-20"), noise(999, 5_000)).unwrap();
    fs::write(here.mount().path().join("new"), noise(998, 50_000)).unwrap();
    let second = here.export(&place);
    assert_eq!(
        (second.moved_packs, second.kept_packs),
        (1, first.moved_packs)
    );
    assert!(second.moved_bytes < first.moved_bytes / 5, "{second:?}");
    let fetched = there.import(&place).unwrap();
    assert_eq!(
        (fetched.moved_packs, fetched.kept_packs),
        (1, first.moved_packs)
    );
    assert_eq!(picture(there.mount().path()), picture(here.mount().path()));
    let fetched = there.import(&place).unwrap();
    assert_eq!(fetched.moved_packs, 0, "all of it is here");
}

#[test]
fn packs_that_are_mostly_unneeded_are_packed_anew_and_forgotten() {
    let here = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let place = in_directory(directory.path());
    let path = here.mount().path().to_owned();
    for number in 0..20 {
        fs::write(
            path.join(format!("{number:02}")),
            noise(number + 1, 1_000_000),
        )
        .unwrap();
    }
    here.export(&place);
    let blobs = || fs::read_dir(place.directory.join("blobs/sha256")).unwrap();
    let size = || -> u64 {
        blobs()
            .map(|blob| blob.unwrap().metadata().unwrap().len())
            .sum()
    };
    assert!(size() > 20_000_000);
    for number in 0..18 {
        fs::remove_file(path.join(format!("{number:02}"))).unwrap();
    }
    here.export(&place);
    assert!(size() < 6_000_000, "{}", size());
    let there = Machine::new();
    there.import(&place).unwrap();
    assert_eq!(picture(there.mount().path()), picture(&path));
}

#[test]
fn tar_goes_out_and_comes_in() {
    let (here, there) = (Machine::new(), Machine::new());
    fill(here.mount().path());
    let mut archive = Vec::new();
    write_archive(&here.mount(), &mut archive).unwrap();
    let root = RootDirectory {
        mode: 0o1777,
        uid: 0,
        gid: 0,
    };
    unpack_over(&there.store, &there.mount(), root, &mut &archive[..]).unwrap();
    assert_eq!(picture(there.mount().path()), picture(here.mount().path()));
}

#[test]
fn archive_that_leaves_the_mount_is_refused_and_the_old_files_stay() {
    let machine = Machine::new();
    fs::write(machine.mount().path().join("old"), "").unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.as_mut_bytes()[..12].copy_from_slice(b"../../escape");
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend_from_slice(b"evil");
    archive.resize(512 * 4, 0);
    let root = RootDirectory {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let unpacked = unpack_over(&machine.store, &machine.mount(), root, &mut &archive[..]);
    assert!(
        matches!(unpacked, Err(Error::Unpack { .. })),
        "{unpacked:?}"
    );
    assert!(machine.mount().path().join("old").exists());
    assert!(!machine.store.root().join("escape").exists());
}

/// A place where one kind of blob has other bytes than its digest says.
struct Lying {
    honest: InDirectory,
    media_type: &'static str,
}

impl Place for Lying {
    fn name(&self) -> String {
        self.honest.name()
    }

    fn manifest(&self) -> Result<Option<Manifest>, Error> {
        self.honest.manifest()
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        let mut bytes = Vec::new();
        self.honest.open(blob)?.read_to_end(&mut bytes).unwrap();
        if blob.media_type.as_str() == self.media_type {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }

    fn put(&self, _: &Descriptor, _: &Path) -> Result<bool, Error> {
        Ok(true)
    }

    fn put_manifest(&self, _: &Manifest) -> Result<Descriptor, Error> {
        Ok(Descriptor::of_bytes("", b""))
    }
}

#[test]
fn damaged_parts_are_refused_and_the_old_files_stay() {
    let (here, there) = (Machine::new(), Machine::new());
    let directory = tempfile::tempdir().unwrap();
    fill(here.mount().path());
    here.export(&in_directory(directory.path()));
    fs::write(there.mount().path().join("old"), "").unwrap();
    for media_type in [
        "application/vnd.kiln.cache-mount.pack.v1",
        "application/vnd.kiln.cache-mount.index.v1+json+zstd",
    ] {
        let place = Lying {
            honest: in_directory(directory.path()),
            media_type,
        };
        let error = there.import(&place).unwrap_err();
        let is_said = matches!(error, Error::Malformed { .. } | Error::WrongDigest { .. });
        assert!(is_said, "{error:?}");
        assert!(there.mount().path().join("old").exists());
    }
    // The same on disk, where every blob is checked.
    for blob in fs::read_dir(directory.path().join("exported/blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert!(there.import(&in_directory(directory.path())).is_err());
        assert!(there.mount().path().join("old").exists());
        fs::write(&path, bytes).unwrap();
    }
    there.import(&in_directory(directory.path())).unwrap();
}

#[test]
fn other_artifacts_are_neither_taken_for_a_mount_nor_overwritten() {
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let place = in_directory(directory.path());
    machine.export(&place);
    let blobs = place.directory.join("blobs/sha256");
    for blob in fs::read_dir(&blobs).unwrap() {
        let path = blob.unwrap().path();
        let text = fs::read(&path).unwrap();
        if let Ok(text) = String::from_utf8(text)
            && text.contains("artifactType")
        {
            let other = text.replace("cache-mount.v1", "something.v1");
            let digest = kiln_oci::Digest::sha256(other.as_bytes());
            fs::write(blobs.join(digest.hex()), &other).unwrap();
            let index = place.directory.join("index.json");
            let entry = Descriptor::of_bytes("", text.as_bytes());
            let changed = fs::read_to_string(&index).unwrap();
            let changed = changed
                .replace(entry.digest.as_str(), digest.as_str())
                .replace(
                    &format!("\"size\":{}", text.len()),
                    &format!("\"size\":{}", other.len()),
                );
            fs::write(&index, changed).unwrap();
        }
    }
    assert!(matches!(find(&place).err(), Some(Error::NotOne { .. })));
    let exported = export(&machine.store, &machine.mount(), &place, &|_| {});
    assert!(
        matches!(exported, Err(Error::NotOne { .. })),
        "{exported:?}"
    );
}
