//! The index of an exported cache mount: which chunks its archive is made of, and in which
//! pack each of them is.
//!
//! An exported cache mount is an OCI artifact: a manifest with a small configuration, the index
//! (JSON, compressed with zstd) as first layer, and packs as the others. A pack is a row of zstd
//! frames, one for each chunk. What is read here came from strangers: every number is checked.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use kiln_disk::{CacheMountKey, CacheMountSharing};
use kiln_oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::chunker::LARGEST;
use super::error::{Error, Result};

/// The artifact's type.
pub const ARTIFACT: &str = "application/vnd.kiln.cache-mount.v1";
/// The media type of the configuration.
pub const CONFIG: &str = "application/vnd.kiln.cache-mount.config.v1+json";
/// The media type of the index.
pub const INDEX: &str = "application/vnd.kiln.cache-mount.index.v1+json+zstd";
/// The media type of a pack.
pub const PACK: &str = "application/vnd.kiln.cache-mount.pack.v1";

/// The most bytes that a configuration may have.
pub const MAXIMUM_CONFIG_BYTES: u64 = 64 << 10;
/// The most bytes that an index may have, as it is sent and unpacked.
pub const MAXIMUM_INDEX_BYTES: u64 = 512 << 20;
/// The most bytes that a pack may have.
pub const MAXIMUM_PACK_BYTES: u64 = 256 << 20;
/// No chunk becomes larger than that by compression.
const MAXIMUM_STORED_BYTES: u32 = (2 * LARGEST) as u32;

const VERSION: u32 = 1;
const LEVEL: i32 = 6;

/// What an exported cache mount is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its identity.
    pub key: CacheMountKey,
    /// How it was used last.
    pub sharing: CacheMountSharing,
    /// Its directory as it is, whatever it was when it was new.
    pub root: RootDirectory,
}

/// Permissions and times of a mount's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDirectory {
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A chunk and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u32,
    /// The pack, by its place among the packs.
    pub pack: u32,
    /// Where its frame begins in the pack.
    pub offset: u64,
    /// How many bytes the frame has.
    pub stored: u32,
}

/// The chunks of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    version: u32,
    /// Digest and size of each pack.
    pub packs: Vec<(Digest, u64)>,
    /// Each chunk once.
    pub chunks: Vec<Chunk>,
    /// The archive: places among the chunks.
    pub sequence: Vec<u32>,
}

impl Index {
    /// Returns an empty index.
    pub fn new() -> Self {
        Self {
            version: VERSION,
            ..Self::default()
        }
    }

    /// Returns the size of the archive in bytes.
    pub fn archive_bytes(&self) -> u64 {
        let chunks = self.sequence.iter();
        let sizes = chunks.filter_map(|place| self.chunks.get(*place as usize));
        sizes.map(|chunk| u64::from(chunk.size)).sum()
    }

    /// Returns the places of chunks by their digests.
    pub fn places(&self) -> HashMap<&Digest, usize> {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .map(|(place, chunk)| (&chunk.digest, place))
            .collect()
    }

    /// Returns the bytes to send.
    pub fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        zstd::bulk::compress(&json, LEVEL)
    }

    /// Returns the index that `bytes` say, if it makes sense and names `packs` only.
    pub fn parse(bytes: &[u8], packs: &[&Descriptor]) -> Result<Self> {
        let malformed = |reason: String| Error::Malformed {
            what: "index",
            reason,
        };
        let mut json = Vec::new();
        let decoder = zstd::Decoder::new(bytes).map_err(|error| malformed(error.to_string()))?;
        let mut limited = decoder.take(MAXIMUM_INDEX_BYTES + 1);
        limited
            .read_to_end(&mut json)
            .map_err(|error| malformed(error.to_string()))?;
        if json.len() as u64 > MAXIMUM_INDEX_BYTES {
            return Err(malformed("it is too large".to_owned()));
        }
        let index: Self =
            serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
        match index.flaw(packs) {
            None => Ok(index),
            Some(flaw) => Err(malformed(flaw)),
        }
    }

    /// Returns what makes no sense.
    fn flaw(&self, packs: &[&Descriptor]) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("it has version {}, not {VERSION}", self.version));
        }
        let named: BTreeMap<&Digest, u64> =
            packs.iter().map(|pack| (&pack.digest, pack.size)).collect();
        let is_foreign = |(digest, size): &&(Digest, u64)| named.get(digest) != Some(size);
        if let Some((digest, _)) = self.packs.iter().find(is_foreign) {
            return Some(format!("the manifest does not name pack {digest}"));
        }
        let too_large = |(_, size): &&(Digest, u64)| *size > MAXIMUM_PACK_BYTES;
        if let Some((digest, size)) = self.packs.iter().find(too_large) {
            return Some(format!("pack {digest} has {size} bytes"));
        }
        if let Some(chunk) = self.chunks.iter().find(|chunk| !self.is_sound(chunk)) {
            return Some(format!("chunk {} is at no place of a pack", chunk.digest));
        }
        let is_nowhere = |place: &&u32| **place as usize >= self.chunks.len();
        let place = self.sequence.iter().find(is_nowhere)?;
        Some(format!("there is no chunk {place}"))
    }

    fn is_sound(&self, chunk: &Chunk) -> bool {
        let is_size_right = (1..=LARGEST as u32).contains(&chunk.size)
            && (1..=MAXIMUM_STORED_BYTES).contains(&chunk.stored);
        let end = chunk.offset.checked_add(u64::from(chunk.stored));
        let pack = self.packs.get(chunk.pack as usize);
        is_size_right && pack.zip(end).is_some_and(|((_, size), end)| end <= *size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (Index, Descriptor) {
        let pack = Descriptor::of_bytes(PACK, b"0123456789");
        let mut index = Index::new();
        index.packs.push((pack.digest.clone(), pack.size));
        index.chunks.push(Chunk {
            digest: Digest::sha256(b"x"),
            size: 1,
            pack: 0,
            offset: 2,
            stored: 8,
        });
        index.sequence = vec![0, 0];
        (index, pack)
    }

    #[test]
    fn index_comes_back_as_it_was() {
        let (index, pack) = index();
        let bytes = index.to_bytes().unwrap();
        assert_eq!(Index::parse(&bytes, &[&pack]).unwrap(), index);
        assert_eq!(index.archive_bytes(), 2);
    }

    #[test]
    fn index_that_makes_no_sense_is_refused() {
        type Change = fn(&mut Index);
        let changes: [(Change, &str); 9] = [
            (|index| index.version = 2, "version 2"),
            (|index| index.packs[0].1 = 11, "does not name pack"),
            (
                |index| index.packs[0].0 = Digest::sha256(b""),
                "does not name pack",
            ),
            (|index| index.chunks[0].offset = 3, "at no place"),
            (|index| index.chunks[0].offset = u64::MAX, "at no place"),
            (|index| index.chunks[0].pack = 1, "at no place"),
            (|index| index.chunks[0].size = u32::MAX, "at no place"),
            (|index| index.chunks[0].size = 0, "at no place"),
            (|index| index.sequence.push(1), "no chunk 1"),
        ];
        for (change, expected) in changes {
            let (mut index, pack) = index();
            change(&mut index);
            let parsed = Index::parse(&index.to_bytes().unwrap(), &[&pack]);
            let error = parsed.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Index::parse(b"nonsense", &[]).is_err());
    }
}
