//! Directory to archive and back: nothing is lost, and equal trees have equal bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use kiln_layer::archive::{Device, Entry, EntryKind, LayerReader, LayerWriter};
use kiln_layer::capture::{CaptureError, CaptureOptions, capture};
use proptest::prelude::*;

use crate::support::{Archive, FORMAT, Stack, entry};

fn entries(archive: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = LayerReader::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut reader.content(), &mut content).unwrap();
        entries.push((entry, content));
    }
    entries
}

fn paths(archive: &[u8]) -> Vec<String> {
    entries(archive)
        .into_iter()
        .map(|(entry, _)| entry.path.display().to_string())
        .collect()
}

#[test]
fn every_kind_of_entry_survives_a_round_trip() {
    let mut file = entry("d/f", EntryKind::Regular { size: 0 });
    file.mode = 0o4755;
    (file.uid, file.gid, file.mtime) = (1000, 3_000_000, -5);
    file.xattrs.insert("user.note".into(), b"a=b\n\0".to_vec());
    let long = PathBuf::from("d")
        .join("n".repeat(200))
        .join("m".repeat(200));
    let archive = Archive::new()
        .directory("d")
        .entry(file)
        .file(&long, "content")
        .symlink("d/s", "t".repeat(300))
        .hard_link("d/z", &long)
        .entry(entry("fifo", EntryKind::Fifo))
        .entry(entry(
            "null",
            EntryKind::CharacterDevice(Device { major: 1, minor: 3 }),
        ))
        .entry(entry(
            "disk",
            EntryKind::BlockDevice(Device {
                major: 8,
                minor: 1_048_575,
            }),
        ))
        .bytes();
    let mut stack = Stack::new();
    stack.add(&archive[..]).unwrap();
    let captured = stack.capture_top();
    let expected: BTreeMap<_, _> = entries(&archive)
        .into_iter()
        .map(|pair| (pair.0.path.clone(), pair))
        .collect();
    let found = entries(&captured);
    // The parent of the long name was implied, and is an entry now.
    assert_eq!(found.len(), expected.len() + 1);
    for (mut entry, content) in found {
        if let EntryKind::Symlink { .. } = entry.kind {
            entry.mode = 0o644;
        }
        if let Some(expected) = expected.get(&entry.path) {
            assert_eq!((&entry, &content), (&expected.0, &expected.1));
        }
    }
}

#[test]
fn entries_come_in_lexical_order_by_component_parents_first() {
    let archive = Archive::new()
        .file("a.b", "")
        .directory("a")
        .file("a/z", "")
        .file("a/B", "")
        .file("a-b", "")
        .bytes();
    let mut stack = Stack::new();
    stack.add(&archive[..]).unwrap();
    assert_eq!(
        paths(&stack.capture_top()),
        ["a", "a/B", "a/z", "a-b", "a.b"]
    );
}

#[test]
fn whiteouts_and_opaque_directories_survive_a_round_trip() {
    let base = Archive::new()
        .directory("d")
        .file("d/a", "")
        .file("e", "")
        .directory("o")
        .file("o/x", "");
    let change = Archive::new()
        .directory("d")
        .file("d/.wh.a", "")
        .file(".wh.e", "")
        .directory("o")
        .file("o/.wh..wh..opq", "")
        .file("o/y", "");
    let mut stack = Stack::new();
    stack.add(&base.bytes()[..]).unwrap();
    stack.add(&change.bytes()[..]).unwrap();
    assert_eq!(stack.paths(), ["d", "o", "o/y"]);
    let captured = stack.capture_top();
    assert_eq!(
        paths(&captured),
        ["d", "d/.wh.a", ".wh.e", "o", "o/.wh..wh..opq", "o/y"]
    );
    stack.layers.pop();
    stack.add(&captured[..]).unwrap();
    assert_eq!(stack.paths(), ["d", "o", "o/y"]);
    assert!(stack.capture_top() == captured);
}

#[test]
fn later_times_are_clamped_and_earlier_ones_are_not() {
    let mut old = entry("old", EntryKind::Regular { size: 0 });
    old.mtime = 10;
    let mut stack = Stack::new();
    stack
        .add(&Archive::new().entry(old).file("new", "").bytes()[..])
        .unwrap();
    let mut bytes = Vec::new();
    let options = CaptureOptions {
        clamp_mtime_seconds: Some(500),
    };
    capture(&stack.layers[0], FORMAT, &mut bytes, &options).unwrap();
    let times: Vec<i64> = entries(&bytes)
        .into_iter()
        .map(|(entry, _)| entry.mtime)
        .collect();
    assert_eq!(times, [500, 10]);
}

#[test]
fn sockets_are_left_out_and_reserved_names_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
    let capture =
        |bytes: &mut Vec<u8>| capture(directory.path(), FORMAT, bytes, &Default::default());
    assert_eq!(capture(&mut Vec::new()).unwrap().skipped_sockets, 1);
    fs::write(directory.path().join(".wh.x"), "").unwrap();
    let error = capture(&mut Vec::new()).unwrap_err();
    assert!(
        matches!(error, CaptureError::ReservedName { .. }),
        "{error}"
    );
}

#[test]
fn trees_deeper_than_a_process_has_handles_are_captured() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let directory = tempfile::tempdir().unwrap();
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut current = openat(CWD, directory.path(), flags, Mode::empty()).unwrap();
    for _ in 0..3000 {
        mkdirat(&current, "d", Mode::from(0o755)).unwrap();
        current = openat(&current, "d", flags, Mode::empty()).unwrap();
    }
    let summary = capture(
        directory.path(),
        FORMAT,
        std::io::sink(),
        &Default::default(),
    )
    .unwrap();
    assert_eq!(summary.entries, 3000);
}

#[derive(Clone, Debug)]
enum Shape {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    Link(usize),
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        2 => Just(Shape::Directory),
        4 => prop::collection::vec(any::<u8>(), 0..1500).prop_map(Shape::File),
        1 => "[a-z/.]{1,120}".prop_map(Shape::Symlink),
        1 => any::<usize>().prop_map(Shape::Link),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("part of a name", |byte| !matches!(byte, 0 | b'/'));
    let any_bytes = prop::collection::vec(byte, 1..130);
    prop_oneof![4 => "[ab]".prop_map(String::into_bytes), 1 => any_bytes]
        .prop_filter("plain name", |name| {
            name != b"." && name != b".." && !name.starts_with(b".wh.")
        })
}

type Item = (Vec<Vec<u8>>, Shape, u32, u32, i64);

fn items() -> impl Strategy<Value = Vec<Item>> {
    let path = prop::collection::vec(name(), 1..4);
    prop::collection::vec(
        (
            path,
            shape(),
            0..0o10000u32,
            0..5_000_000u32,
            -10..1i64 << 33,
        ),
        0..20,
    )
}

/// Returns an archive of those items that make sense one after the other.
fn archive_of(items: Vec<Item>) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    let (mut files, mut others) = (Vec::<PathBuf>::new(), BTreeSet::<PathBuf>::new());
    for (components, shape, mode, uid, mtime) in items {
        let path: PathBuf = components.into_iter().map(OsString::from_vec).collect();
        let blocked =
            |above: &Path| others.contains(above) || files.iter().any(|file| file == above);
        if path.ancestors().any(blocked)
            || others
                .iter()
                .chain(&files)
                .any(|one| one.starts_with(&path))
        {
            continue;
        }
        let (kind, content) = match shape {
            Shape::Directory => (EntryKind::Directory, Vec::new()),
            Shape::File(content) => (
                EntryKind::Regular {
                    size: content.len() as u64,
                },
                content,
            ),
            Shape::Symlink(target) => (
                EntryKind::Symlink {
                    target: target.into(),
                },
                Vec::new(),
            ),
            Shape::Link(_) if files.is_empty() => continue,
            Shape::Link(index) => {
                let target = files[index % files.len()].clone();
                (EntryKind::HardLink { target }, Vec::new())
            }
        };
        match kind {
            EntryKind::Regular { .. } => files.push(path.clone()),
            EntryKind::Directory => {}
            _ => {
                others.insert(path.clone());
            }
        }
        let mut entry = entry(path, kind);
        (entry.mode, entry.uid, entry.gid, entry.mtime) = (mode, uid, uid / 2, mtime);
        writer.append(&entry, &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn capturing_what_was_unpacked_from_a_capture_gives_the_same_bytes(items in items()) {
        let mut first = Stack::new();
        first.add(&archive_of(items)[..]).unwrap();
        let captured = first.capture_top();
        let mut second = Stack::new();
        second.add(&captured[..]).unwrap();
        prop_assert_eq!(entries(&second.capture_top()), entries(&captured));
        prop_assert!(second.capture_top() == captured);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), valid in any::<bool>()) {
        if valid && bytes.len() >= 512 {
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[..512]);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
        }
        let mut reader = LayerReader::new(&bytes[..]);
        while let Ok(Some(_)) = reader.next_entry() {
            let _ = std::io::copy(&mut reader.content(), &mut std::io::sink());
        }
    }
}
