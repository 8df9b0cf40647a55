use std::io::Cursor;
use std::path::PathBuf;

use super::*;
use crate::scan::Scan;
use crate::tree::Tree;

fn scan(directory: &Path) -> Scan {
    Scan::new(Tree::host(directory).unwrap(), Index::default())
}

/// Clocks jump: what was read when the clock showed a time before that of the file's last
/// change may change again within the same time.
#[test]
fn a_file_that_changed_later_than_now_is_not_known_to_the_next_build() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("d")).unwrap();
    std::fs::write(directory.path().join("d/a"), "a").unwrap();
    let scan = scan(directory.path());
    let d = scan.directory(Path::new("d")).unwrap();
    d.get(0).unwrap().learn([7; 32]);
    let roots = [(PathBuf::from("d"), d.clone())];
    let changed = d.get(0).unwrap().changed().seconds;
    let hour = 3_600;
    for (clock_seconds, known) in [(changed - hour, 0), (changed + hour, 1)] {
        let now = i128::from(clock_seconds) * 1_000_000_000;
        let mut out = Cursor::new(Vec::new());
        let index = Index::default();
        index
            .write_updated_at(&roots, &HashMap::new(), now, &mut out)
            .unwrap();
        let index = Index::decode(out.into_inner()).unwrap();
        assert_eq!(index.known(Path::new("d")).len(), known, "{clock_seconds}");
    }
}

/// Directories with no, few and so many files that they are read in several parts.
fn known_index(directory: &Path) -> (Vec<u8>, Vec<(PathBuf, usize)>) {
    let expected = [
        ("", 0),
        ("a", 3),
        ("a-b", 1),
        ("a/b", 2_000),
        ("a/empty", 0),
    ];
    for (path, count) in expected {
        std::fs::create_dir_all(directory.join(path)).unwrap();
        for number in 0..count {
            let name = format!("{path}/{number}-{}", "x".repeat(number % 200));
            std::fs::write(directory.join(name), "").unwrap();
        }
    }
    let scan = scan(directory);
    let root = scan.directory(Path::new("")).unwrap();
    let mut at = vec![root.clone()];
    while let Some(directory) = at.pop() {
        for file in directory.files() {
            match file.inside() {
                Some(inside) => at.push(inside.clone()),
                None => file.learn([file.name().len() as u8; 32]),
            }
        }
    }
    let mut out = Cursor::new(Vec::new());
    let roots = [(PathBuf::new(), root)];
    Index::default()
        .write_updated_at(&roots, &HashMap::new(), i128::MAX, &mut out)
        .unwrap();
    let expected = expected.map(|(path, count)| (path.into(), count));
    (out.into_inner(), expected.to_vec())
}

fn in_file(bytes: &[u8]) -> std::fs::File {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn an_index_whose_files_are_not_held_knows_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (bytes, expected) = known_index(directory.path());
    let held = Index::read(in_file(&bytes)).unwrap().unwrap();
    let unheld = Index::read_holding(in_file(&bytes), 0).unwrap().unwrap();
    assert!(held.file.is_none() && unheld.file.is_some());
    assert!(unheld.bytes.len() < 200, "{} bytes", unheld.bytes.len());
    for (path, count) in expected {
        let known = unheld.known(&path);
        assert_eq!(known.len(), count, "{path:?}");
        assert_eq!(known, held.known(&path), "{path:?}");
    }
    for damaged in [MAGIC.len(), HEADER_BYTES + 3, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[damaged] ^= 1;
        assert!(Index::read_holding(in_file(&bytes), 0).unwrap().is_err());
    }
    let cut = &bytes[..bytes.len() - 1];
    assert!(Index::read_holding(in_file(cut), 0).unwrap().is_err());
}

/// What earlier versions wrote: each path just before the files of its directory.
#[test]
fn paths_between_the_files_are_read_too() {
    let directory = tempfile::tempdir().unwrap();
    let (bytes, expected) = known_index(directory.path());
    let new = Index::decode(bytes.clone()).unwrap();
    let rows: Vec<Row> = (0..new.rows).filter_map(|place| new.row(place)).collect();
    let mut old = bytes[..HEADER_BYTES + rows.len() * ROW_BYTES].to_vec();
    for (place, row) in rows.iter().enumerate() {
        let end = rows.get(place + 1).map_or(bytes.len(), |next| next.files.0);
        let starts = [old.len(), old.len() + row.path.1];
        old.extend_from_slice(new.path(row));
        old.extend_from_slice(&bytes[row.files.0..end]);
        for (offset, start) in [0, 8].into_iter().zip(starts) {
            let at = HEADER_BYTES + place * ROW_BYTES + offset;
            old[at..at + 4].copy_from_slice(&(start as u32).to_le_bytes());
        }
    }
    let sum = libdeflater::crc32(&old[MAGIC.len() + 4..]);
    old[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&sum.to_le_bytes());
    let old = Index::read_holding(in_file(&old), 0).unwrap().unwrap();
    assert!(old.file.is_none());
    for (path, _) in expected {
        assert_eq!(old.known(&path), new.known(&path), "{path:?}");
    }
}
