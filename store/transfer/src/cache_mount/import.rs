//! From the place that keeps it to a cache mount.
//!
//! Chunks that the mount has already are taken from there, others from their packs; a file
//! beside them holds each once until the archive is unpacked from it into a new directory,
//! which then takes the place of the old one in one step.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use kiln_disk::{ActiveLayer, At, CacheMountUse, Store};
use kiln_layer::archive::{DevicePolicy, UnpackOptions, unpack};
use kiln_layer::tree::Tree;
use kiln_oci::{Descriptor, Digest, Manifest};

use super::error::{Error, Result};
use super::export::{chunks, read_index, read_small};
use super::index::{Chunk, Config, Index, MAXIMUM_CONFIG_BYTES, PACK, RootDirectory};
use super::place::Place;
use super::{Observer, Progress, Summary};

/// An exported cache mount, found at its place.
pub struct Exported<'a> {
    place: &'a dyn Place,
    manifest: Manifest,
    /// What it is.
    pub config: Config,
}

/// Returns the cache mount that was exported to `place`.
///
/// Errors: [`Error::Absent`], [`Error::NotOne`], [`Error::Malformed`].
pub fn find(place: &dyn Place) -> Result<Exported<'_>> {
    let manifest = place.manifest()?.ok_or_else(|| Error::Absent {
        place: place.name(),
    })?;
    let malformed = |reason: String| Error::Malformed {
        what: "configuration",
        reason,
    };
    if manifest.config.size > MAXIMUM_CONFIG_BYTES {
        return Err(malformed("it is too large".to_owned()));
    }
    let bytes = read_small(place, &manifest.config)?;
    let config = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    Ok(Exported {
        place,
        manifest,
        config,
    })
}

impl Exported<'_> {
    /// Puts the exported files in place of those of the mount that `used` holds.
    ///
    /// Nobody else may use the mount meanwhile: hold it locked.
    pub fn import(
        &self,
        store: &Store,
        used: &CacheMountUse,
        observe: Observer<'_>,
    ) -> Result<Summary> {
        let index = read_index(self.place, &self.manifest)?;
        let scratch = store.layers().begin()?;
        let importing = Importing {
            place: self.place,
            used,
            observe,
            index: &index,
            scratch,
        };
        let mut summary = Summary {
            archive_bytes: index.archive_bytes(),
            ..Summary::default()
        };
        importing.run(self.config.root, &mut summary)?;
        Ok(summary)
    }
}

/// Unpacks `archive`, in whatever compression Kiln reads, in place of the mount's files.
pub fn unpack_over(
    store: &Store,
    used: &CacheMountUse,
    root: RootDirectory,
    archive: &mut dyn Read,
) -> Result<()> {
    let scratch = store.layers().begin()?;
    unpack_into(used, archive, &scratch.upper(), root)?;
    Ok(used.replace(&scratch.upper())?)
}

fn unpack_into(
    used: &CacheMountUse,
    archive: &mut dyn Read,
    target: &Path,
    root: RootDirectory,
) -> Result<()> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Unpack {
        id: used.facts().key.id.clone(),
        source,
    };
    let format = used.format();
    let mut tree =
        Tree::open_for_write(&[], target, format).map_err(|error| failed(error.into()))?;
    let mut options = UnpackOptions::literal("");
    if format.has_notes() {
        options.devices = DevicePolicy::Skip;
    }
    unpack(archive, &mut tree, &options).map_err(|error| failed(error.into()))?;
    let permissions = Permissions::from_mode(root.mode & 0o7777);
    let owned = fs::set_permissions(target, permissions)
        .and_then(|()| chown(target, Some(root.uid), Some(root.gid)));
    Ok(owned.at("set the owner of", target)?)
}

struct Importing<'a> {
    place: &'a dyn Place,
    used: &'a CacheMountUse,
    observe: Observer<'a>,
    index: &'a Index,
    /// Takes chunks and packs, then the files.
    scratch: ActiveLayer,
}

impl Importing<'_> {
    fn run(&self, root: RootDirectory, summary: &mut Summary) -> Result<()> {
        let path = self.scratch.directory().join("chunks");
        let mut spool = Spool::create(&path, self.index.chunks.len())?;
        if self.used.path().is_dir() {
            self.take_from_mount(&mut spool)?;
        }
        self.take_from_packs(&mut spool, summary)?;
        let mut archive = Archive {
            index: self.index,
            spool: &spool,
            next: 0,
            chunk: Vec::new(),
            read: 0,
        };
        unpack_into(self.used, &mut archive, &self.scratch.upper(), root)?;
        Ok(self.used.replace(&self.scratch.upper())?)
    }

    fn take_from_mount(&self, spool: &mut Spool) -> Result<()> {
        let places = self.index.places();
        chunks(self.used, |digest, chunk| match places.get(&digest) {
            Some(place) if spool.offsets[*place].is_none() => spool.add(*place, chunk),
            _ => Ok(()),
        })
    }

    fn take_from_packs(&self, spool: &mut Spool, summary: &mut Summary) -> Result<()> {
        let mut missing: HashMap<u32, Vec<usize>> = HashMap::new();
        for (place, chunk) in self.index.chunks.iter().enumerate() {
            if spool.offsets[place].is_none() {
                missing.entry(chunk.pack).or_default().push(place);
            }
        }
        let packs: BTreeSet<u32> = missing.keys().copied().collect();
        summary.kept_packs = self.index.packs.len() - packs.len();
        for number in packs {
            let (digest, size) = &self.index.packs[number as usize];
            let pack = Descriptor::new(PACK, digest.clone(), *size);
            (self.observe)(Progress::Fetching { pack: pack.clone() });
            let path = self.fetch(&pack)?;
            let file = File::open(&path).at("open", &path)?;
            for place in missing.remove(&number).unwrap_or_default() {
                let chunk = unpacked(&file, &path, &self.index.chunks[place])?;
                spool.add(place, &chunk).at("write", &spool.path)?;
            }
            fs::remove_file(&path).at("remove", &path)?;
            summary.moved_packs += 1;
            summary.moved_bytes += size;
        }
        Ok(())
    }

    /// Fetches a pack, whose digest is checked on the way.
    fn fetch(&self, pack: &Descriptor) -> Result<PathBuf> {
        let path = self.scratch.directory().join("pack");
        let mut file = File::create(&path).at("create", &path)?;
        let mut reader = self.place.open(pack)?.take(pack.size + 1);
        let place = PathBuf::from(self.place.name());
        io::copy(&mut reader, &mut file).at("fetch a pack from", &place)?;
        Ok(path)
    }
}

/// Returns the bytes of a chunk in the pack `file`.
fn unpacked(file: &File, path: &Path, chunk: &Chunk) -> Result<Vec<u8>> {
    let mut frame = vec![0; chunk.stored as usize];
    file.read_exact_at(&mut frame, chunk.offset)
        .at("read", path)?;
    let bytes = zstd::bulk::decompress(&frame, chunk.size as usize);
    let bytes = bytes.map_err(|error| Error::Malformed {
        what: "pack",
        reason: format!("chunk {}: {error}", chunk.digest),
    })?;
    let found = Digest::sha256(&bytes);
    match found == chunk.digest {
        true => Ok(bytes),
        false => Err(Error::WrongDigest {
            what: "chunk",
            expected: chunk.digest.clone(),
            found,
        }),
    }
}

/// Chunks on disk, each once.
struct Spool {
    path: PathBuf,
    file: File,
    length: u64,
    /// Where each chunk begins.
    offsets: Vec<Option<u64>>,
}

impl Spool {
    fn create(path: &Path, chunks: usize) -> Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        Ok(Self {
            path: path.to_owned(),
            file: options.open(path).at("create", path)?,
            length: 0,
            offsets: vec![None; chunks],
        })
    }

    fn add(&mut self, place: usize, chunk: &[u8]) -> io::Result<()> {
        (&self.file).write_all(chunk)?;
        self.offsets[place] = Some(self.length);
        self.length += chunk.len() as u64;
        Ok(())
    }
}

/// The archive, read from its chunks.
struct Archive<'a> {
    index: &'a Index,
    spool: &'a Spool,
    /// The next place in the sequence.
    next: usize,
    chunk: Vec<u8>,
    /// How much of the chunk was read.
    read: usize,
}

impl Archive<'_> {
    /// Loads the next chunk; `false` at the end.
    fn load(&mut self) -> io::Result<bool> {
        let Some(place) = self.index.sequence.get(self.next) else {
            return Ok(false);
        };
        let place = *place as usize;
        let offset = self.spool.offsets[place];
        let offset = offset.ok_or_else(|| io::Error::other("a chunk was not fetched"))?;
        self.chunk.resize(self.index.chunks[place].size as usize, 0);
        self.spool.file.read_exact_at(&mut self.chunk, offset)?;
        (self.next, self.read) = (self.next + 1, 0);
        Ok(true)
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() && !self.load()? {
            return Ok(0);
        }
        let rest = &self.chunk[self.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}
