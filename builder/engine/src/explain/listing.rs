//! The files that a step read: a compact list, kept beside the recipe.
//!
//! A line of text per file, compressed: path, kind, mode, owner, and the start of a digest of
//! everything else. Lists longer than [`MOST_FILES`] are not kept.

use super::difference::{ChangedFile, FileChange};
use kiln_layer::copy::SelectedFile;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

/// Files of the longest list that is kept.
const MOST_FILES: usize = 50_000;
/// More than a list can have: a damaged one must not fill the memory.
const MOST_BYTES: u64 = 256 << 20;
const MAGIC: &str = "kiln listing 1\n";

/// A file as a step sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedFile {
    pub path: Vec<u8>,
    /// `f`, `d`, `l`, as in the digest of a selection.
    pub kind: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    /// The start of a digest of all else.
    pub content: u64,
}

/// The files that a step read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing(pub Vec<ListedFile>);

impl Listing {
    /// Returns the list of `files`.
    pub fn of(files: &[SelectedFile]) -> Self {
        let files = files.iter().map(|file| ListedFile {
            path: file.name.as_os_str().as_bytes().to_vec(),
            kind: u8::try_from(file.kind).unwrap_or(b'?'),
            mode: file.mode,
            owner: file.owner,
            content: file.content,
        });
        Listing(files.collect())
    }

    /// Returns the bytes of the list; none of one that is too long.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if self.0.len() > MOST_FILES {
            return None;
        }
        let mut text = MAGIC.as_bytes().to_vec();
        for file in &self.0 {
            let ListedFile {
                kind,
                mode,
                owner: (uid, gid),
                content,
                ..
            } = file;
            let kind = char::from(*kind);
            let length = file.path.len();
            text.extend(format!("{kind} {mode:o} {uid} {gid} {content:x} {length} ").bytes());
            text.extend(&file.path);
            text.push(b'\n');
        }
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).ok()?;
        encoder.write_all(&text).ok()?;
        encoder.finish().ok()
    }

    /// Returns the list that `bytes` are.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        let decoder = zstd::Decoder::new(bytes).ok()?;
        decoder.take(MOST_BYTES).read_to_end(&mut text).ok()?;
        let mut rest = text.strip_prefix(MAGIC.as_bytes())?;
        let mut files = Vec::new();
        while !rest.is_empty() {
            let (file, after) = decode_file(rest)?;
            files.push(file);
            rest = after;
        }
        Some(Listing(files))
    }
}

fn decode_file(bytes: &[u8]) -> Option<(ListedFile, &[u8])> {
    let mut fields = bytes.splitn(7, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let kind = *text()?.as_bytes().first()?;
    let mode = u32::from_str_radix(text()?, 8).ok()?;
    let owner = (text()?.parse().ok()?, text()?.parse().ok()?);
    let content = u64::from_str_radix(text()?, 16).ok()?;
    let length: usize = text()?.parse().ok()?;
    let (path, rest) = fields.next()?.split_at_checked(length)?;
    let file = ListedFile {
        path: path.to_vec(),
        kind,
        mode,
        owner,
        content,
    };
    Some((file, rest.strip_prefix(b"\n")?))
}

/// Returns the files that differ, in order of their paths.
pub(super) fn compare(before: &Listing, after: &Listing) -> Vec<ChangedFile> {
    let by_path = |listing: &Listing| -> BTreeMap<Vec<u8>, ListedFile> {
        let files = listing.0.iter().cloned();
        files.map(|file| (file.path.clone(), file)).collect()
    };
    let (before, after) = (by_path(before), by_path(after));
    let mut paths: Vec<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let changed = paths.into_iter().map(|path| ChangedFile {
        path: String::from_utf8_lossy(path).into_owned(),
        changes: changes(before.get(path), after.get(path)),
    });
    changed.filter(|file| !file.changes.is_empty()).collect()
}

fn changes(before: Option<&ListedFile>, after: Option<&ListedFile>) -> Vec<FileChange> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (Some(_), None) => return vec![FileChange::Removed],
        (None, _) => return vec![FileChange::Added],
    };
    let mut changes = Vec::new();
    if before.kind != after.kind {
        changes.push(FileChange::Kind {
            before: kind_name(before.kind).to_owned(),
            after: kind_name(after.kind).to_owned(),
        });
    } else if before.content != after.content {
        changes.push(FileChange::Content);
    }
    if before.mode != after.mode {
        changes.push(FileChange::Mode {
            before: before.mode,
            after: after.mode,
        });
    }
    if before.owner != after.owner {
        changes.push(FileChange::Owner {
            before: before.owner,
            after: after.owner,
        });
    }
    changes
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        b'f' => "file",
        b'd' => "directory",
        b'l' => "link",
        b'p' => "pipe",
        b's' => "socket",
        _ => "device",
    }
}
