//! The files of a layout, in a directory or in an archive.
//!
//! Of a directory only what is asked for is read. An archive is read once, from end to end: its
//! blobs go to the store under the digests that they are named by ([`archive_files`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kiln_disk::Store;
use kiln_oci::{Descriptor, Digest};
use rustix::fs::OFlags;

use super::ImportError;
use super::archive_files::{self, ArchiveFiles, ingest, read_small};

type Result<T, E = ImportError> = std::result::Result<T, E>;

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
            false => {
                let file = open_archive(path)?;
                return Ok(Self::of_archive(
                    path,
                    &archive_files::read(store, file, path)?,
                ));
            }
        };
        Ok(LayoutFiles {
            path: path.to_owned(),
            kind,
        })
    }

    /// Returns the files of an archive that has been read.
    pub(super) fn of_archive(path: &Path, files: &ArchiveFiles) -> Self {
        let document = |name| files.document(name).map(<[u8]>::to_vec);
        LayoutFiles {
            path: path.to_owned(),
            kind: Kind::Archive {
                layout: document("oci-layout"),
                index: document("index.json"),
            },
        }
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
        read_small(file, &path, name).map(Some)
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
        let ingested = ingest(store, input, &path, Some(digest), Some(descriptor.size));
        ingested.map(drop).map_err(|error| match error {
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

/// Opens the archive at `path`; a link to it is followed.
pub(super) fn open_archive(path: &Path) -> Result<File> {
    let failed = |source| ImportError::Io {
        action: "open",
        path: path.to_owned(),
        source,
    };
    let real = std::fs::canonicalize(path).map_err(failed)?;
    open_regular(&real)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
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
