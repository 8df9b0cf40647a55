//! From a cache mount to the place that keeps it.
//!
//! The mount's archive is read twice: once to learn its chunks, and again, if there are new
//! ones, to pack those. Packs of an earlier export stay as long as half of them is needed;
//! what is needed of others is packed anew.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_disk::{ActiveLayer, At, CacheMountUse, Store};
use kiln_layer::capture::{CaptureOptions, capture};
use kiln_layer::digest::DigestWriter;
use kiln_oci::{Descriptor, Digest, Manifest};

use super::chunker::Chunker;
use super::error::{Error, Result};
use super::index::{CONFIG, Chunk, Config, INDEX, Index, MAXIMUM_INDEX_BYTES, PACK, RootDirectory};
use super::place::{Place, manifest_of};
use super::{Observer, Progress, Summary};

/// A pack is full with that many bytes.
const PACK_BYTES: u64 = 16 << 20;
const LEVEL: i32 = 3;

/// Exports the mount that `used` holds to `place`.
///
/// Nobody else may write to the mount meanwhile: hold it locked. Only packs that the place
/// lacks are sent; memory does not grow with the files, only with their number of chunks.
pub fn export(
    store: &Store,
    used: &CacheMountUse,
    place: &dyn Place,
    observe: Observer<'_>,
) -> Result<Summary> {
    let exporting = Exporting {
        used,
        place,
        observe,
        scratch: store.layers().begin()?,
    };
    exporting.run()
}

/// Writes the archive of a mount's directory to `sink`.
pub(super) fn archive(used: &CacheMountUse, sink: impl Write) -> Result<()> {
    let options = CaptureOptions::default();
    let captured = capture(used.path(), used.format(), sink, &options);
    captured.map(drop).map_err(|source| Error::Read {
        id: used.facts().key.id.clone(),
        source: Box::new(source),
    })
}

/// Gives the chunks of a mount's archive to `consume`, with their digests.
pub(super) fn chunks(
    used: &CacheMountUse,
    mut consume: impl FnMut(Digest, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let mut chunker = Chunker::new(|chunk: &[u8]| consume(Digest::sha256(chunk), chunk));
    archive(used, &mut chunker)?;
    Ok(chunker.finish().at("read", used.path())?)
}

struct Exporting<'a> {
    used: &'a CacheMountUse,
    place: &'a dyn Place,
    observe: Observer<'a>,
    /// Takes packs until they are sent.
    scratch: ActiveLayer,
}

impl Exporting<'_> {
    fn run(&self) -> Result<Summary> {
        let earlier = self.earlier_index()?;
        let sequence = self.read()?;
        let mut summary = Summary {
            archive_bytes: sequence.iter().map(|(_, size)| u64::from(*size)).sum(),
            ..Summary::default()
        };
        let mut index = kept(&earlier, &sequence);
        summary.kept_packs = index.packs.len();
        let known: HashSet<Digest> = index.chunks.iter().map(|c| c.digest.clone()).collect();
        if sequence.iter().any(|(digest, _)| !known.contains(digest)) {
            self.pack(&mut index, known, &mut summary)?;
        }
        let places = index.places();
        let place = |(digest, _): &(Digest, u32)| places.get(digest).map(|place| *place as u32);
        let sequence: Option<Vec<u32>> = sequence.iter().map(place).collect();
        // Both readings are of one archive: nobody else has the mount.
        index.sequence = sequence.ok_or_else(|| Error::Malformed {
            what: "archive",
            reason: "the files changed while they were read".to_owned(),
        })?;
        summary.manifest = Some(self.finish(&index, &mut summary)?);
        Ok(summary)
    }

    fn directory(&self) -> &Path {
        self.used.path()
    }

    /// Returns the index of what is at the place. One that makes no sense is replaced.
    fn earlier_index(&self) -> Result<Index> {
        let Some(manifest) = self.place.manifest()? else {
            return Ok(Index::new());
        };
        match read_index(self.place, &manifest) {
            Err(Error::Malformed { .. }) => Ok(Index::new()),
            other => other,
        }
    }

    /// Returns the digests and sizes of the archive's chunks.
    fn read(&self) -> Result<Vec<(Digest, u32)>> {
        let mut sequence = Vec::new();
        chunks(self.used, |digest, chunk| {
            sequence.push((digest, chunk.len() as u32));
            Ok(())
        })?;
        (self.observe)(Progress::Read {
            chunks: sequence.len(),
        });
        Ok(sequence)
    }

    /// Packs and sends the chunks that are not `known`.
    fn pack(
        &self,
        index: &mut Index,
        mut known: HashSet<Digest>,
        summary: &mut Summary,
    ) -> Result<()> {
        let path = self.scratch.directory().join("pack");
        let mut pack = Pack::begin(&path).at("create", &path)?;
        let mut failure = None;
        let read = chunks(self.used, |digest, chunk| {
            if !known.insert(digest.clone()) {
                return Ok(());
            }
            let number = index.packs.len() as u32;
            index.chunks.push(pack.add(digest, chunk, number)?);
            if pack.size < PACK_BYTES {
                return Ok(());
            }
            let full = std::mem::replace(&mut pack, Pack::begin(&path)?);
            self.send(full, index, summary).map_err(|error| {
                failure = Some(error);
                io::Error::other("a pack could not be sent")
            })
        });
        match failure {
            Some(error) => return Err(error),
            None => read?,
        }
        match pack.size {
            0 => Ok(()),
            _ => self.send(pack, index, summary),
        }
    }

    fn send(&self, pack: Pack, index: &mut Index, summary: &mut Summary) -> Result<()> {
        let path = pack.path.clone();
        let descriptor = pack.finish().at("write", &path)?;
        (self.observe)(Progress::Sending {
            pack: descriptor.clone(),
        });
        if self.place.put(&descriptor, &path)? {
            summary.moved_packs += 1;
            summary.moved_bytes += descriptor.size;
        }
        fs::remove_file(&path).at("remove", &path)?;
        index.packs.push((descriptor.digest, descriptor.size));
        Ok(())
    }

    /// Sends index, configuration and manifest.
    fn finish(&self, index: &Index, summary: &mut Summary) -> Result<Descriptor> {
        let directory = self.directory();
        let metadata = fs::metadata(directory).at("examine", directory)?;
        let facts = self.used.facts();
        let config = Config {
            key: facts.key.clone(),
            sharing: facts.sharing,
            root: RootDirectory {
                mode: metadata.permissions().mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            },
        };
        let config = serde_json::to_vec(&config).map_err(|error| Error::Malformed {
            what: "configuration",
            reason: error.to_string(),
        })?;
        let path = self.scratch.directory().join("index");
        let bytes = index.to_bytes().at("compress", &path)?;
        let config = self.send_bytes(CONFIG, &config, summary)?;
        let mut layers = vec![self.send_bytes(INDEX, &bytes, summary)?];
        let packs = index.packs.iter();
        layers.extend(packs.map(|(digest, size)| Descriptor::new(PACK, digest.clone(), *size)));
        self.place.put_manifest(&manifest_of(config, layers))
    }

    fn send_bytes(
        &self,
        media_type: &str,
        bytes: &[u8],
        summary: &mut Summary,
    ) -> Result<Descriptor> {
        let path = self.scratch.directory().join("document");
        fs::write(&path, bytes).at("write", &path)?;
        let descriptor = Descriptor::of_bytes(media_type, bytes);
        if self.place.put(&descriptor, &path)? {
            summary.moved_bytes += descriptor.size;
        }
        Ok(descriptor)
    }
}

/// Returns the index that `manifest` leads to.
pub(super) fn read_index(place: &dyn Place, manifest: &Manifest) -> Result<Index> {
    let of_type = |wanted: &'static str| {
        let layers = manifest.layers.iter();
        layers.filter(move |layer| layer.media_type.as_str() == wanted)
    };
    let malformed = |reason: &str| Error::Malformed {
        what: "manifest",
        reason: reason.to_owned(),
    };
    let index = of_type(INDEX).next();
    let index = index.ok_or_else(|| malformed("it names no index"))?;
    if index.size > MAXIMUM_INDEX_BYTES {
        return Err(malformed("its index is too large"));
    }
    let packs: Vec<&Descriptor> = of_type(PACK).collect();
    Index::parse(&read_small(place, index)?, &packs)
}

/// Returns the bytes of a blob whose size is known to be bearable.
pub(super) fn read_small(place: &dyn Place, blob: &Descriptor) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = place.open(blob)?;
    let path = PathBuf::from(place.name());
    reader.read_to_end(&mut bytes).at("read", &path)?;
    Ok(bytes)
}

/// Returns an index of those packs of `earlier` that are worth keeping, with the chunks that
/// `sequence` needs of them.
fn kept(earlier: &Index, sequence: &[(Digest, u32)]) -> Index {
    let needed: HashSet<&Digest> = sequence.iter().map(|(digest, _)| digest).collect();
    let is_needed = |chunk: &&Chunk| needed.contains(&chunk.digest);
    let mut needed_bytes: HashMap<u32, u64> = HashMap::new();
    for chunk in earlier.chunks.iter().filter(is_needed) {
        *needed_bytes.entry(chunk.pack).or_default() += u64::from(chunk.stored);
    }
    let is_worth = |pack: u32| {
        let (_, size) = &earlier.packs[pack as usize];
        needed_bytes
            .get(&pack)
            .is_some_and(|bytes| bytes * 2 >= *size)
    };
    let packs: BTreeSet<u32> = (0..earlier.packs.len() as u32)
        .filter(|pack| is_worth(*pack))
        .collect();
    let mut index = Index::new();
    let numbers: HashMap<u32, u32> = packs.iter().copied().zip(0..).collect();
    index.packs = packs
        .iter()
        .map(|pack| earlier.packs[*pack as usize].clone())
        .collect();
    for chunk in earlier.chunks.iter().filter(is_needed) {
        if let Some(number) = numbers.get(&chunk.pack) {
            index.chunks.push(Chunk {
                pack: *number,
                ..chunk.clone()
            });
        }
    }
    index
}

/// A pack being written.
struct Pack {
    path: PathBuf,
    writer: DigestWriter<File>,
    size: u64,
}

impl Pack {
    fn begin(path: &Path) -> io::Result<Self> {
        // Never over one that is still to be sent.
        let path = match path.exists() {
            true => path.with_extension("next"),
            false => path.to_owned(),
        };
        let writer = DigestWriter::new(File::create(&path)?);
        Ok(Self {
            path,
            writer,
            size: 0,
        })
    }

    fn add(&mut self, digest: Digest, chunk: &[u8], pack: u32) -> io::Result<Chunk> {
        let frame = zstd::bulk::compress(chunk, LEVEL)?;
        self.writer.write_all(&frame)?;
        let offset = self.size;
        self.size += frame.len() as u64;
        Ok(Chunk {
            digest,
            size: chunk.len() as u32,
            pack,
            offset,
            stored: frame.len() as u32,
        })
    }

    fn finish(self) -> io::Result<Descriptor> {
        let (mut file, digest, size) = self.writer.finish();
        file.flush()?;
        Ok(Descriptor::new(PACK, digest, size))
    }
}
