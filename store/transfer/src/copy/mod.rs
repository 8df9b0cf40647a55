//! Images from one place to another, without unpacking anything and byte for byte: digests stay.
//!
//! Documents go last and from the bottom up, so that a target never names what it lacks. Blobs go
//! side by side; a registry is asked whether it has one, and to take it from the source's
//! repository where that is in the same registry.

mod place;

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_oci::{
    Descriptor, Digest, Document, DocumentError, Index, MAX_DOCUMENT_BYTES, Manifest, MediaFamily,
    Platform, Reference,
};

pub use place::{LayoutPlace, RegistryPlace, StorePlace};

/// How many blobs go at once.
const PARALLEL_BLOBS: usize = 4;
/// How many indexes may lead to an image.
const DEEPEST_INDEX: usize = 4;

/// An image could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A registry failed.
    #[error(transparent)]
    Registry(Box<kiln_registry::Error>),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] kiln_disk::Error),
    /// An archive could not be read.
    #[error(transparent)]
    Import(#[from] crate::source::ImportError),
    /// An archive could not be written.
    #[error(transparent)]
    Export(#[from] crate::Error),
    /// The source has no such image.
    #[error("{place} has no image {wanted}")]
    Missing {
        /// The source.
        place: String,
        /// What was asked for.
        wanted: String,
    },
    /// A document cannot be understood.
    #[error("cannot understand manifest {digest} of {place}")]
    Document {
        /// The source.
        place: String,
        /// The document.
        digest: Digest,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// A document is too large, or indexes lead from one to the next, too far.
    #[error("manifest {digest} of {place} is refused: {reason}")]
    Refused {
        /// The source.
        place: String,
        /// The document.
        digest: Digest,
        /// Why, in words.
        reason: &'static str,
    },
    /// The image is not for the platform.
    #[error("{place} has no image for {platform}; it has {}", offered.join(", "))]
    PlatformMissing {
        /// The source.
        place: String,
        /// The platform that was asked for.
        platform: Box<Platform>,
        /// The platforms that there are.
        offered: Vec<String>,
    },
    /// A blob could not be copied.
    #[error("cannot copy blob {digest}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<kiln_registry::Error> for CopyError {
    fn from(error: kiln_registry::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// The result of a copy.
pub type Result<T, E = CopyError> = std::result::Result<T, E>;

/// A document and its bytes.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its meaning.
    pub document: Document,
}

/// Where images are copied from.
pub trait Source: Sync + fmt::Display {
    /// Returns the document that the place was named for.
    fn target(&self) -> Result<Fetched>;
    /// Returns a document that another one names.
    fn document(&self, entry: &Descriptor) -> Result<Fetched>;
    /// Opens a blob, to be read from `position` on.
    fn open(&self, blob: &Descriptor, position: u64) -> io::Result<Box<dyn Read + Send>>;
    /// Returns the repository that the blobs are in, if it is one of a registry.
    fn repository(&self) -> Option<&Reference> {
        None
    }
    /// Returns what refers to a manifest: signatures and the like.
    fn referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

/// How a blob came to where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It was there.
    Existed,
    /// The registry took it from another repository of its own.
    Mounted,
    /// It was copied.
    Copied,
}

/// Where images are copied to.
pub trait Target: Sync + fmt::Display {
    /// Brings a blob there, unless it is there.
    fn put_blob(&self, source: &dyn Source, blob: &Descriptor) -> Result<Copied>;
    /// Puts a document that another one will name.
    fn put_document(&self, document: &Fetched) -> Result<()>;
    /// Puts a document that refers to one that is there already.
    fn put_referrer(&self, document: &Fetched) -> Result<()> {
        self.put_document(document)
    }
    /// Puts the document that the place was named for.
    fn put_target(&self, document: &Fetched) -> Result<()>;
}

/// What is copied of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// The platforms; all when empty. One alone comes without the index.
    pub platforms: Vec<Platform>,
    /// What refers to the image, too.
    pub with_referrers: bool,
}

/// What happens during a copy, for those who show progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyEvent {
    /// A blob is there.
    Blob(Descriptor, Copied),
    /// A document is there.
    Document(Descriptor),
}

impl fmt::Display for CopyEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(blob, copied) => {
                let how = match copied {
                    Copied::Existed => "exists",
                    Copied::Mounted => "mounted",
                    Copied::Copied => "copied",
                };
                write!(formatter, "{how} {}", blob.digest)
            }
            Self::Document(one) => write!(formatter, "manifest {}", one.digest),
        }
    }
}

/// Copies what `source` was named for to `target`, and returns what that is then.
pub fn copy(
    source: &dyn Source,
    target: &dyn Target,
    options: &CopyOptions,
    observer: &(dyn Fn(CopyEvent) + Sync),
) -> Result<Descriptor> {
    let copying = Copying {
        source,
        target,
        options,
        observer,
        seen: Mutex::default(),
    };
    let chosen = choose(source, source.target()?, &options.platforms)?;
    copying.below(&chosen, 0)?;
    target.put_target(&chosen)?;
    observer(CopyEvent::Document(chosen.descriptor.clone()));
    if options.with_referrers {
        copying.referrers(&chosen.descriptor.digest, 0)?;
    }
    Ok(chosen.descriptor)
}

/// Copies `manifests` of `source` to the target's repository, without a name: for an index that
/// will list them.
pub fn copy_manifests(
    source: &dyn Source,
    target: &dyn Target,
    manifests: &[Descriptor],
    observer: &(dyn Fn(CopyEvent) + Sync),
) -> Result<()> {
    let options = CopyOptions::default();
    let copying = Copying {
        source,
        target,
        options: &options,
        observer,
        seen: Mutex::default(),
    };
    manifests
        .iter()
        .try_for_each(|manifest| copying.entry(manifest, 0))
}

/// Returns the document for `platforms`: of an index one of its manifests, or an index of some.
fn choose(source: &dyn Source, fetched: Fetched, platforms: &[Platform]) -> Result<Fetched> {
    let (index, wanted) = match (&fetched.document, platforms) {
        (_, []) | (Document::Manifest(_), _) => return Ok(fetched),
        (Document::Index(index), wanted) => (index, wanted),
    };
    let select = |platform: &Platform| {
        index.select(platform).cloned().ok_or_else(|| {
            let platforms = index
                .manifests
                .iter()
                .filter_map(|one| one.platform.as_ref());
            CopyError::PlatformMissing {
                place: source.to_string(),
                platform: Box::new(platform.clone()),
                offered: platforms.map(ToString::to_string).collect(),
            }
        })
    };
    let chosen = wanted.iter().map(select).collect::<Result<Vec<_>>>()?;
    if let [one] = chosen.as_slice() {
        return source.document(one);
    }
    let family = fetched.descriptor.media_type.family();
    let mut part = Index::new(family.unwrap_or(MediaFamily::Oci), chosen);
    part.annotations = index.annotations.clone();
    let bytes = crate::json::indented(&part);
    Ok(Fetched {
        descriptor: Descriptor::of_bytes(part.media_type.clone(), &bytes),
        bytes,
        document: Document::Index(part),
    })
}

struct Copying<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    options: &'a CopyOptions,
    observer: &'a (dyn Fn(CopyEvent) + Sync),
    seen: Mutex<HashSet<Digest>>,
}

impl Copying<'_> {
    /// Copies all that `document` names.
    fn below(&self, document: &Fetched, depth: usize) -> Result<()> {
        if depth > DEEPEST_INDEX {
            return Err(CopyError::Refused {
                place: self.source.to_string(),
                digest: document.descriptor.digest.clone(),
                reason: "it lies too deep in indexes of indexes",
            });
        }
        match &document.document {
            Document::Manifest(manifest) => self.blobs(manifest),
            Document::Index(index) => index
                .manifests
                .iter()
                .try_for_each(|entry| self.entry(entry, depth)),
        }
    }

    fn entry(&self, entry: &Descriptor, depth: usize) -> Result<()> {
        self.put(entry, depth, |document| self.target.put_document(document))
    }

    fn put(
        &self,
        entry: &Descriptor,
        depth: usize,
        put: impl FnOnce(&Fetched) -> Result<()>,
    ) -> Result<()> {
        if !self.is_new(&entry.digest) {
            return Ok(());
        }
        let document = self.source.document(entry)?;
        self.below(&document, depth + 1)?;
        put(&document)?;
        (self.observer)(CopyEvent::Document(document.descriptor.clone()));
        match self.options.with_referrers {
            true => self.referrers(&entry.digest, depth),
            false => Ok(()),
        }
    }

    fn is_new(&self, digest: &Digest) -> bool {
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.insert(digest.clone())
    }

    fn referrers(&self, subject: &Digest, depth: usize) -> Result<()> {
        let referrers = self.source.referrers(subject)?;
        let put = |document: &Fetched| self.target.put_referrer(document);
        referrers
            .iter()
            .try_for_each(|referrer| self.put(referrer, depth + 1, put))
    }

    /// Copies the blobs of a manifest, some at a time; the first failure ends it.
    fn blobs(&self, manifest: &Manifest) -> Result<()> {
        let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
        let blobs: Vec<&Descriptor> = blobs.filter(|blob| self.is_new(&blob.digest)).collect();
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let lock = || {
            failure
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let work = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if lock().is_some() {
                    return;
                }
                match self.target.put_blob(self.source, blob) {
                    Ok(copied) => (self.observer)(CopyEvent::Blob((*blob).clone(), copied)),
                    Err(error) => {
                        lock().get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_BLOBS.min(blobs.len()) {
                scope.spawn(work);
            }
        });
        match failure
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Returns the document that `bytes` are, which must be what `entry` says.
fn understood(place: &dyn fmt::Display, entry: &Descriptor, bytes: Vec<u8>) -> Result<Fetched> {
    let digest = &entry.digest;
    let refused = |reason| CopyError::Refused {
        place: place.to_string(),
        digest: digest.clone(),
        reason,
    };
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(refused("it is larger than 4 MiB"));
    }
    if Digest::of(digest.algorithm(), &bytes) != *digest {
        return Err(refused("its content has another digest"));
    }
    let media_type = Some(entry.media_type.as_str()).filter(|text| !text.is_empty());
    let document = Document::parse(&bytes, media_type).map_err(|source| CopyError::Document {
        place: place.to_string(),
        digest: digest.clone(),
        source,
    })?;
    let media_type = document.media_type().clone();
    let mut descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
    descriptor.platform = entry.platform.clone();
    descriptor.annotations = entry.annotations.clone();
    Ok(Fetched {
        descriptor,
        bytes,
        document,
    })
}
