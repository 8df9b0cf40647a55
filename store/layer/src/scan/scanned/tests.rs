use super::*;

fn metadata(kind: FileKind, number: u64) -> Metadata {
    Metadata {
        kind,
        mode: 0o4750,
        uid: 1000,
        gid: number as u32 % 3,
        size: number << 33,
        modified: Timestamp {
            seconds: -5,
            nanoseconds: 999_999_999,
        },
        changed: Timestamp {
            seconds: i64::MAX,
            nanoseconds: 1,
        },
        links: number,
        inode: u64::MAX - number,
        device: 1 << 40,
        special_device: (number as u32, 7),
    }
}

#[test]
fn all_that_was_seen_of_a_file_is_kept() {
    let seen: Vec<Entry> = KINDS
        .iter()
        .cycle()
        .zip(0..40)
        .map(|(kind, number)| Entry {
            name: format!("name{number:02}").into(),
            metadata: metadata(*kind, number),
        })
        .collect();
    let mut scanned = Scanned::of(&seen, Vec::new());
    for (file, seen) in scanned.files().zip(&seen) {
        assert_eq!((file.name(), file.metadata()), (&*seen.name, seen.metadata));
        assert_eq!(
            scanned.find(seen.name.as_bytes()).unwrap().place(),
            file.place()
        );
    }
    assert!(scanned.find(b"name4").is_none());
    scanned.get(3).unwrap().learn([9; 32]);
    let same = scanned.get(3).unwrap().metadata();
    scanned.replace(3, &same);
    assert_eq!(scanned.get(3).unwrap().content(), Some(&[9; 32]));
    scanned.replace(3, &metadata(FileKind::Fifo, 77));
    let file = scanned.get(3).unwrap();
    assert_eq!(file.metadata(), metadata(FileKind::Fifo, 77));
    assert_eq!((file.content(), file.name()), (None, OsStr::new("name03")));
}

#[test]
fn a_million_files_of_a_context_fit_into_a_hundred_megabytes() {
    let bytes = size_of::<ScannedEntry>();
    assert!(bytes <= 88, "{bytes} bytes for each");
}

#[test]
fn a_tree_deeper_than_the_stack_is_dropped() {
    let entry = Entry {
        name: "d".into(),
        metadata: metadata(FileKind::Directory, 2),
    };
    let mut top = Arc::new(Scanned::default());
    for _ in 0..200_000 {
        let mut above = Scanned::of(std::slice::from_ref(&entry), Vec::new());
        above.enter(0, top);
        above.settle();
        top = Arc::new(above);
    }
    let two = top.descend(Path::new("d/d")).unwrap();
    drop(top);
    assert!(two.find(b"d").unwrap().inside().is_some());
}
