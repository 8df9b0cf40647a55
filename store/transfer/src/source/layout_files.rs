//! The files of a layout, in a directory or in an archive.
//!
//! Of a directory only what is asked for is read. An archive is read once, from end to end: its
//! blobs go to the store under the digests that they are named by.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kiln_disk::Store;
use kiln_layer::archive::{Entry, EntryKind, LayerReader};
use kiln_layer::compress::{ArchiveCompression, decompressor};
use kiln_oci::{Descriptor, Digest, MAX_DOCUMENT_BYTES};
use rustix::fs::OFlags;

use super::ImportError;

type Result<T, E = ImportError> = std::result::Result<T, E>;

/// Bytes that tell how an archive is compressed.
const MAGIC_BYTES: u64 = 6;

/// The files of a layout.
pub(super) struct LayoutFiles {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Directory,
    /// The blobs are in the store already; this is what else counts.
    Archive {
        layout: Option<Vec<u8>>,
        index: Option<Vec<u8>>,
    },
}

impl LayoutFiles {
    /// Opens the directory or archive at `path`.
    pub(super) fn open(store: &Store, path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|source| ImportError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        let kind = match metadata.is_dir() {
            true => Kind::Directory,
            false => read_archive(store, path)?,
        };
        Ok(LayoutFiles {
            path: path.to_owned(),
            kind,
        })
    }

    /// Returns the path of the whole.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file `oci-layout`, if there is one.
    pub(super) fn layout(&self) -> Result<Option<Vec<u8>>> {
        match &self.kind {
            Kind::Directory => self.small_file("oci-layout"),
            Kind::Archive { layout, .. } => Ok(layout.clone()),
        }
    }

    /// Returns the file `index.json`, if there is one.
    pub(super) fn index(&self) -> Result<Option<Vec<u8>>> {
        match &self.kind {
            Kind::Directory => self.small_file("index.json"),
            Kind::Archive { index, .. } => Ok(index.clone()),
        }
    }

    fn small_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        let Some(file) = open_regular(&path)? else {
            return Ok(None);
        };
        read_small(file, &path).map(Some)
    }

    /// Returns whether the layout has a blob of this digest.
    pub(super) fn has(&self, store: &Store, digest: &Digest) -> bool {
        match &self.kind {
            Kind::Directory => self.blob_path(digest).is_file(),
            Kind::Archive { .. } => store.blobs().has(digest),
        }
    }

    /// Returns the size of the blob in bytes.
    pub(super) fn size(&self, store: &Store, digest: &Digest) -> Result<u64> {
        let missing = || self.missing(digest);
        match &self.kind {
            Kind::Directory => {
                let metadata = std::fs::symlink_metadata(self.blob_path(digest));
                metadata
                    .map(|metadata| metadata.len())
                    .map_err(|_| missing())
            }
            Kind::Archive { .. } => store.blobs().size(digest).map_err(|_| missing()),
        }
    }

    /// Brings the blob that `descriptor` describes into the store, unless it is there.
    pub(super) fn bring(&self, store: &Store, descriptor: &Descriptor) -> Result<()> {
        let digest = &descriptor.digest;
        let has_size = |size: u64| size == descriptor.size;
        // Asked whether it has the blob, the store keeps it for as long as this process runs.
        if store.blobs().has(digest) && store.blobs().size(digest).is_ok_and(has_size) {
            return Ok(());
        }
        let path = self.blob_path(digest);
        let file = match &self.kind {
            Kind::Directory => open_regular(&path)?,
            Kind::Archive { .. } => None,
        };
        let file = file.ok_or_else(|| self.missing(digest))?;
        // One byte more than there should be is enough to tell that it is wrong.
        let input = file.take(descriptor.size.saturating_add(1));
        ingest(store, input, &path, digest, Some(descriptor.size)).map_err(|error| match error {
            ImportError::Damaged { digest, source, .. } => ImportError::Damaged {
                path: self.path.clone(),
                digest,
                source,
            },
            other => other,
        })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let folder = digest.algorithm().as_str();
        self.path.join("blobs").join(folder).join(digest.hex())
    }

    fn missing(&self, digest: &Digest) -> ImportError {
        ImportError::BlobMissing {
            path: self.path.clone(),
            digest: digest.clone(),
        }
    }
}

/// Opens a file without following a link, and without waiting for whoever writes to a FIFO.
fn open_regular(path: &Path) -> Result<Option<File>> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(ImportError::NotRegular(path.to_owned()));
        }
        Err(source) => {
            return Err(ImportError::Io {
                action: "open",
                path: path.to_owned(),
                source,
            });
        }
    };
    match file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        true => Ok(Some(file)),
        false => Err(ImportError::NotRegular(path.to_owned())),
    }
}

fn read_small(input: impl Read, path: &Path) -> Result<Vec<u8>> {
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
            reason: format!("it is larger than {MAX_DOCUMENT_BYTES} bytes"),
        }),
    }
}

/// Stores what `input` has under `digest`, which it must have.
fn ingest(
    store: &Store,
    mut input: impl Read,
    path: &Path,
    digest: &Digest,
    size: Option<u64>,
) -> Result<()> {
    let mut writer = store.blobs().ingest()?;
    let io = |action| {
        move |source| ImportError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    io::copy(&mut input, &mut writer).map_err(io("copy"))?;
    writer.flush().map_err(io("copy"))?;
    let size = size.unwrap_or_else(|| writer.size());
    match writer.commit(Some((digest, size))) {
        Ok(_) => Ok(()),
        Err(
            source @ (kiln_disk::Error::WrongDigest { .. } | kiln_disk::Error::WrongSize { .. }),
        ) => Err(ImportError::Damaged {
            path: path.to_owned(),
            digest: digest.clone(),
            source,
        }),
        Err(error) => Err(error.into()),
    }
}

/// Reads the archive at `path`, compressed or not.
fn read_archive(store: &Store, path: &Path) -> Result<Kind> {
    let io = |source| ImportError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = open_regular(path)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()))?;
    let mut magic = Vec::new();
    (&file)
        .take(MAGIC_BYTES)
        .read_to_end(&mut magic)
        .map_err(io)?;
    file.rewind().map_err(io)?;
    let compression = ArchiveCompression::detect(&magic);
    let mut reader = LayerReader::new(decompressor(compression, file).map_err(io)?);
    let (mut layout, mut index) = (None, None);
    let failed = |source| ImportError::Archive {
        path: path.to_owned(),
        source,
    };
    while let Some(entry) = reader.next_entry().map_err(failed)? {
        match part(&entry) {
            Part::Layout => layout = Some(read_small(reader.content(), path)?),
            Part::Index => index = Some(read_small(reader.content(), path)?),
            Part::Blob(digest) if store.blobs().has(&digest) => {}
            Part::Blob(digest) => ingest(store, reader.content(), path, &digest, None)?,
            Part::Other => {}
        }
    }
    Ok(Kind::Archive { layout, index })
}

enum Part {
    Layout,
    Index,
    Blob(Digest),
    Other,
}

/// Returns what an entry of the archive is. Links and the like are nothing of a layout's.
fn part(entry: &Entry) -> Part {
    if !matches!(entry.kind, EntryKind::Regular { .. }) {
        return Part::Other;
    }
    let path = entry.path.to_str().unwrap_or_default();
    match path {
        "oci-layout" => Part::Layout,
        "index.json" => Part::Index,
        _ => match path.strip_prefix("blobs/") {
            Some(name) => {
                let digest = name.replacen('/', ":", 1).parse();
                digest.map_or(Part::Other, Part::Blob)
            }
            None => Part::Other,
        },
    }
}
