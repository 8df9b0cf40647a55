//! The files of an archive of images, read once from end to end.
//!
//! Whatever may be a part of an image goes to the store, named by its digest; what nobody refers
//! to is cleared away with the rest of what has no name. Small files that say what the archive
//! is are kept in memory.

use std::collections::HashMap;
use std::io::{self, Cursor, Read, Write};
use std::path::{Component, Path, PathBuf};

use kiln_disk::Store;
use kiln_layer::archive::{Entry, EntryKind, LayerReader};
use kiln_layer::compress::{ArchiveCompression, decompressor};
use kiln_oci::{Digest, MAX_DOCUMENT_BYTES};

use super::ImportError;

type Result<T, E = ImportError> = std::result::Result<T, E>;

/// Bytes that tell how an archive is compressed.
const MAGIC_BYTES: u64 = 6;
const MOST_FILES: usize = 100_000;
const MOST_LINKS_IN_A_ROW: usize = 8;

/// What says what the archive is.
const DOCUMENTS: [&str; 4] = ["oci-layout", "index.json", "manifest.json", "repositories"];

/// The files of an archive by their paths.
#[derive(Debug, Default)]
pub(super) struct ArchiveFiles {
    documents: HashMap<String, Vec<u8>>,
    contents: HashMap<PathBuf, Content>,
    links: HashMap<PathBuf, PathBuf>,
}

/// A file whose content is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub digest: Digest,
    pub size: u64,
}

impl ArchiveFiles {
    /// Returns one of the files that say what the archive is.
    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// Returns the file at `path`, which may be a link to another file of the archive.
    pub(super) fn content(&self, path: &Path) -> Option<&Content> {
        let mut path = inside(Path::new(""), path)?;
        for _ in 0..MOST_LINKS_IN_A_ROW {
            if let Some(content) = self.contents.get(&path) {
                return Some(content);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    fn len(&self) -> usize {
        self.contents.len() + self.links.len()
    }
}

/// Reads the archive `input`, compressed or not; `path` names it in errors.
pub(super) fn read(store: &Store, mut input: impl Read, path: &Path) -> Result<ArchiveFiles> {
    let io = |source| ImportError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut magic = Vec::new();
    let mut beginning = input.by_ref().take(MAGIC_BYTES);
    beginning.read_to_end(&mut magic).map_err(io)?;
    let compression = ArchiveCompression::detect(&magic);
    let input = Cursor::new(magic).chain(input);
    let mut reader = LayerReader::new(decompressor(compression, input).map_err(io)?);
    let mut files = ArchiveFiles::default();
    let failed = |source| ImportError::Archive {
        path: path.to_owned(),
        source,
    };
    while let Some(entry) = reader.next_entry().map_err(failed)? {
        if files.len() >= MOST_FILES {
            return Err(ImportError::NotAnArchive {
                path: path.to_owned(),
                reason: format!("it has more than {MOST_FILES} files"),
            });
        }
        add(store, &mut files, &entry, reader.content(), path)?;
    }
    Ok(files)
}

fn add(
    store: &Store,
    files: &mut ArchiveFiles,
    entry: &Entry,
    content: impl Read,
    archive: &Path,
) -> Result<()> {
    match &entry.kind {
        EntryKind::Regular { .. } => {}
        EntryKind::Symlink { target } => {
            let parent = entry.path.parent().unwrap_or(Path::new(""));
            let target = inside(parent, target);
            files
                .links
                .extend(target.map(|to| (entry.path.clone(), to)));
            return Ok(());
        }
        EntryKind::HardLink { target } => {
            let target = inside(Path::new(""), target);
            files
                .links
                .extend(target.map(|to| (entry.path.clone(), to)));
            return Ok(());
        }
        _ => return Ok(()),
    }
    let name = entry.path.to_str().unwrap_or_default();
    if DOCUMENTS.contains(&name) {
        let document = read_small(content, archive, name)?;
        return match files.documents.insert(name.to_owned(), document) {
            None => Ok(()),
            Some(_) => Err(twice(archive, name)),
        };
    }
    if is_left_over(name) {
        return Ok(());
    }
    let expected = blob_name(name);
    let found = match &expected {
        Some(digest) if store.blobs().has(digest) => Content {
            size: store.blobs().size(digest)?,
            digest: digest.clone(),
        },
        expected => ingest(store, content, archive, expected.as_ref(), None)?,
    };
    match files.contents.insert(entry.path.clone(), found.clone()) {
        Some(other) if other != found => Err(twice(archive, name)),
        _ => Ok(()),
    }
}

/// What Docker's first format says of layers, which nobody reads any more.
fn is_left_over(name: &str) -> bool {
    name.ends_with("/json") || name.ends_with("/VERSION")
}

/// Returns the digest that a file of a layout has by its path.
fn blob_name(name: &str) -> Option<Digest> {
    let name = name.strip_prefix("blobs/")?;
    name.replacen('/', ":", 1).parse().ok()
}

fn twice(archive: &Path, name: &str) -> ImportError {
    ImportError::NotAnArchive {
        path: archive.to_owned(),
        reason: format!("it has two different files `{name}`"),
    }
}

/// Returns where `path` leads from `directory`; nothing if out of the archive.
fn inside(directory: &Path, path: &Path) -> Option<PathBuf> {
    let mut found = directory.to_owned();
    for component in path.components() {
        match component {
            Component::Normal(name) => found.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !found.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(found)
}

/// Returns the content of a file that should be small.
pub(super) fn read_small(input: impl Read, path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut input = input.take(MAX_DOCUMENT_BYTES as u64 + 1);
    let read = input.read_to_end(&mut bytes);
    read.map_err(|source| ImportError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    match bytes.len() > MAX_DOCUMENT_BYTES {
        false => Ok(bytes),
        true => Err(ImportError::NotALayout {
            path: path.to_owned(),
            reason: format!("`{name}` is larger than {MAX_DOCUMENT_BYTES} bytes"),
        }),
    }
}

/// Stores what `input` has, under `digest` if it must have that; `path` is where it is from.
pub(super) fn ingest(
    store: &Store,
    mut input: impl Read,
    path: &Path,
    digest: Option<&Digest>,
    size: Option<u64>,
) -> Result<Content> {
    let mut writer = store.blobs().ingest()?;
    let failed = |source| ImportError::Io {
        action: "copy",
        path: path.to_owned(),
        source,
    };
    io::copy(&mut input, &mut writer).map_err(failed)?;
    writer.flush().map_err(failed)?;
    let found = writer.size();
    let expected = digest.map(|digest| (digest, size.unwrap_or(found)));
    match (writer.commit(expected), digest) {
        (Ok(digest), _) => Ok(Content {
            digest,
            size: found,
        }),
        (
            Err(
                source
                @ (kiln_disk::Error::WrongDigest { .. } | kiln_disk::Error::WrongSize { .. }),
            ),
            Some(digest),
        ) => Err(ImportError::Damaged {
            path: path.to_owned(),
            digest: digest.clone(),
            source,
        }),
        (Err(error), _) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::inside;
    use std::path::{Path, PathBuf};

    #[test]
    fn links_lead_to_files_of_the_archive_only() {
        let found = |directory: &str, path: &str| inside(Path::new(directory), Path::new(path));
        assert_eq!(found("a", "../b.tar"), Some(PathBuf::from("b.tar")));
        assert_eq!(found("a", "./c"), Some(PathBuf::from("a/c")));
        for path in ["../../etc/passwd", "/etc/passwd"] {
            assert_eq!(found("a", path), None, "{path}");
        }
    }
}
