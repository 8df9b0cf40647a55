//! The parts of an image as a tar archive: sorted, without clocks, users or machines in it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use kiln_disk::Store;
use kiln_layer::archive::{Entry, EntryKind, LayerWriter};

use super::destination::Output;
use super::parts::{Part, Parts};
use crate::error::{Error, Result};
use crate::pack::{Observer, Progress};

/// Writes `parts` as an archive to `output`; `target` names it in errors.
pub(super) fn write(
    store: &Store,
    parts: &Parts,
    target: &Path,
    output: &mut Output<'_>,
    observe: Observer<'_>,
) -> Result<()> {
    let mut archive = LayerWriter::new(output);
    let mut directories = BTreeSet::new();
    for (path, part) in parts {
        for directory in parents(path) {
            if directories.insert(directory.clone()) {
                let entry = entry(&directory, EntryKind::Directory);
                let appended = archive.append(&entry, io::empty());
                appended.map_err(|source| failed(target, source))?;
            }
        }
        if let Part::Blob(descriptor) = part {
            observe(Progress::Writing(descriptor.clone()));
        }
        let mut content = part.open(store)?;
        let entry = entry(path, EntryKind::Regular { size: part.size() });
        let appended = archive.append_written(&entry, |output| content.copy_to(output));
        appended.map_err(|source| failed(target, source))?;
    }
    archive
        .finish()
        .map(drop)
        .map_err(|source| failed(target, source))
}

/// The stream's own error is what matters: a full disk stays recognisable.
pub(super) fn failed(target: &Path, error: kiln_layer::archive::ArchiveError) -> Error {
    let source = match error {
        kiln_layer::archive::ArchiveError::Stream(source) => source,
        other => io::Error::other(other),
    };
    kiln_disk::Error::Io {
        action: "write",
        path: target.to_owned(),
        source,
    }
    .into()
}

fn entry(path: &Path, kind: EntryKind) -> Entry {
    let mode = if kind == EntryKind::Directory {
        0o755
    } else {
        0o644
    };
    let path = path.to_owned();
    Entry {
        path,
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: Default::default(),
    }
}

/// Returns the directories above `path`, the highest first.
fn parents(path: &Path) -> Vec<PathBuf> {
    let above = path
        .ancestors()
        .skip(1)
        .filter(|path| !path.as_os_str().is_empty());
    let mut directories: Vec<_> = above.map(Path::to_owned).collect();
    directories.reverse();
    directories
}
