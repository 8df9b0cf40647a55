//! Layers that are unpacked beside each other become what they become one after the other.

use std::path::{Path, PathBuf};

use kiln_disk::{LayerId, Store};
use kiln_oci::{DiffId, Platform, Reference, chain_ids};
use kiln_registry::{Client, ClientOptions};
use kiln_testdata::registry::{FakeRegistry, Layer, digest_of};
use kiln_transfer::arrival::{Arriving, unpack_blob};
use kiln_transfer::pull::{PullPolicy, resolve, unpack_layers};
use kiln_transfer::sink::Destination;
use kiln_transfer::sink::rootfs_tar::{self, RootFs};
use tar::{Builder, EntryType, Header};

/// An entry of a layer.
enum Entry {
    Directory(&'static str),
    File(&'static str, &'static str),
    Symlink(&'static str, &'static str),
    HardLink(&'static str, &'static str),
}

use Entry::{Directory, File, HardLink, Symlink};

fn layer(entries: &[Entry]) -> Layer {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_mtime(7);
        header.set_mode(0o755);
        header.set_size(0);
        let (path, kind, target, content) = match entry {
            Directory(path) => (path, EntryType::Directory, "", ""),
            File(path, content) => (path, EntryType::Regular, "", *content),
            Symlink(path, target) => (path, EntryType::Symlink, *target, ""),
            HardLink(path, target) => (path, EntryType::Link, *target, ""),
        };
        header.set_entry_type(kind);
        match target.is_empty() {
            true => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_bytes())
            }
            false => builder.append_link(&mut header, path, target),
        }
        .unwrap();
    }
    let archive = builder.into_inner().unwrap();
    Layer {
        diff_id: digest_of(&archive),
        archive,
    }
}

fn layers() -> Vec<Layer> {
    let base = [
        Directory("usr/"),
        Directory("usr/lib/"),
        File("usr/lib/one", "1"),
        Symlink("lib", "usr/lib"),
        Directory("etc/"),
        File("etc/gone", "x"),
        File("etc/stays", "y"),
        Directory("etc/old/"),
        File("etc/old/file", "z"),
        File("was-file", "f"),
        Directory("flips/"),
        File("flips/below", "b"),
    ];
    // All that these write to they list.
    let listed = [
        Directory("etc/"),
        File("etc/.wh.gone", ""),
        File("etc/stays", "new"),
        Directory("etc/old/"),
        File("etc/old/.wh..wh..opq", ""),
        File("etc/old/other", "o"),
        Directory("was-file/"),
        File("was-file/in", "i"),
    ];
    let through_link = [File("lib/two", "2"), File("lib/three", "3")];
    let linked = [HardLink("usr/lib/four", "usr/lib/one")];
    let implied = [File("new/deep/file", "n"), File("etc/more", "m")];
    let replaced = [
        File("etc2", "file first"),
        File(".wh.was-file", ""),
        Directory("was-file/"),
        File("was-file/again", "a"),
    ];
    let turned = [Directory("etc/"), File("turned", "t"), Directory("turned/")];
    let file = [File("flips", "now a file")];
    let directory = [Directory("flips/"), File("flips/above", "a")];
    [
        layer(&base),
        layer(&listed),
        layer(&through_link),
        layer(&linked),
        layer(&implied),
        layer(&replaced),
        layer(&turned),
        layer(&file),
        layer(&directory),
    ]
    .into()
}

/// Returns all files of `stack`, as an archive.
fn files_of(store: &Store, stack: &[LayerId]) -> Vec<u8> {
    let mut archive = Vec::new();
    let destination = Destination::Stream(&mut archive);
    let root = RootFs {
        directory: PathBuf::new(),
        stack: stack.to_vec(),
    };
    rootfs_tar::write(store, &[root], None, destination).unwrap();
    archive
}

fn client(directory: &Path) -> Client {
    Client::new(ClientOptions {
        docker_config: Some(directory.to_owned()),
        ..ClientOptions::default()
    })
    .unwrap()
}

#[test]
fn order_of_unpacking_makes_no_difference() {
    let directory = tempfile::tempdir().unwrap();
    let (registry, client) = (FakeRegistry::start(), client(directory.path()));
    registry.add_image("a", "1", &layers());
    let name: Reference = format!("{}/a:1", registry.address()).parse().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    let linux = Platform::new("linux", "amd64", None);
    let image = resolve(&store, &client, &name, &linux, PullPolicy::Always).unwrap();
    let stack = unpack_layers(&store, &client, &image, &|_| {}).unwrap();
    let diff_ids: &[DiffId] = &image.config.rootfs.diff_ids;
    let chain_ids = chain_ids(diff_ids);
    let mut in_order = Vec::new();
    for (index, descriptor) in image.manifest.layers.iter().enumerate() {
        let arriving = Arriving {
            diff_id: diff_ids[index].clone(),
            chain_id: chain_ids[index].clone(),
            descriptor: descriptor.clone(),
            created_seconds: 0,
        };
        let layer = unpack_blob(&store, &in_order, &arriving, LayerId::random()).unwrap();
        in_order.push(layer);
        let one = files_of(&store, &stack[..=index]);
        assert!(one == files_of(&store, &in_order), "layer {index}");
    }
    let path = store.layers().diff_path(&stack[2]);
    assert_eq!(std::fs::read(path.join("usr/lib/two")).unwrap(), b"2");
}
