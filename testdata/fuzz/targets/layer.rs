//! Any bytes are an archive or an error; what is read of one stays inside the root, and what is
//! written of it is read the same.
#![no_main]

use std::io::Read;
use std::path::Component;

use kiln_layer::archive::{Entry, EntryKind, LayerReader, LayerWriter};
use libfuzzer_sys::fuzz_target;

/// Content beyond that is not looked at: a few bytes of input are a file of gigabytes of holes.
const MOST_CONTENT_BYTES: u64 = 64 << 10;

fn is_inside(path: &std::path::Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_)))
}

fn entries(archive: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = LayerReader::new(archive);
    let mut found = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(is_inside(&entry.path), "{:?}", entry.path);
        assert!(entry.mode <= 0o7777 && entry.uid < u32::MAX && entry.gid < u32::MAX);
        if let EntryKind::HardLink { target } = &entry.kind {
            assert!(is_inside(target), "{target:?}");
        }
        let _ = entry.meaning();
        let mut content = Vec::new();
        if reader
            .content()
            .take(MOST_CONTENT_BYTES)
            .read_to_end(&mut content)
            .is_err()
        {
            break;
        }
        match entry.kind {
            EntryKind::Regular { size } => {
                assert_eq!(content.len() as u64, size.min(MOST_CONTENT_BYTES));
            }
            // A header may announce bytes of what has none: they are passed over.
            _ => content.clear(),
        }
        found.push((entry, content));
    }
    found
}

/// Returns the archive with the checksums that its headers should have: a wrong one would be the
/// end of almost every input.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut archive = bytes.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = with_checksums(bytes);
    let mut writer = LayerWriter::new(Vec::new());
    let mut expected = Vec::new();
    for (entry, content) in entries(&bytes) {
        let is_whole = match entry.kind {
            EntryKind::Regular { size } => size == content.len() as u64,
            _ => true,
        };
        if !is_whole || entry.path.as_os_str().is_empty() {
            continue;
        }
        if writer.append(&entry, &content[..]).is_err() {
            return;
        }
        expected.push((entry.path, entry.mode, entry.uid, entry.gid, content));
    }
    let Ok(archive) = writer.finish() else {
        return;
    };
    let again = entries(&archive).into_iter();
    let again: Vec<_> = again
        .map(|(entry, content)| (entry.path, entry.mode, entry.uid, entry.gid, content))
        .collect();
    assert_eq!(again, expected);
});
