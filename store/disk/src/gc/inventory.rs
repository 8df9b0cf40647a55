//! What is in a store, what of it is in use, and what leads to what.
//!
//! The order matters. First everything that could be removed is looked at: its stamp, and
//! whether it is leased. Only then names, records and chains are read. Whoever gives a name
//! to something holds a lease of it: either we see the lease, or the stamp changes, or the
//! name was there before we read the names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use super::reach::Reached;
use crate::error::{Error, Result};
use crate::images::list_files;
use crate::layers::Chain;
use crate::lease::{self, Claim, Stamp};
use crate::usage::{Counted, DiskUsage};
use crate::{CacheMount, LayerFacts, LayerId, LayerOrigin, Record, Store, durable};

/// How the sizes of layers are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// By looking at every file, each inode once.
    Exact,
    /// By remembering what was found earlier: layers do not change.
    Remembered,
}

/// A file or folder that could be removed.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) stamp: Stamp,
    pub(crate) is_in_use: bool,
    pub(crate) usage: DiskUsage,
}

/// Records that lead to one result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) files: Vec<(PathBuf, Stamp)>,
    pub(crate) layers: Vec<LayerId>,
    pub(crate) used_seconds: i64,
    pub(crate) description: String,
}

/// What is in a store.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) layers: BTreeMap<LayerId, Found>,
    /// What layers lie upon that are not whole in themselves.
    bases: HashMap<LayerId, LayerId>,
    pub(crate) blobs: BTreeMap<Digest, Found>,
    pub(crate) facts: HashMap<LayerId, LayerFacts>,
    pub(crate) groups: Vec<Group>,
    /// Records that lead nowhere: damaged, or their layers are gone.
    pub(crate) broken_records: Vec<(PathBuf, Stamp)>,
    /// Layers that a chain leads to.
    pub(crate) chained: HashSet<LayerId>,
    pub(crate) named: Reached,
    /// Names of which nobody knows what they lead to.
    pub(crate) damaged_names: Vec<Error>,
    /// Blobs that belong to unpacked layers: their archives cannot be made again.
    pub(crate) archives: HashMap<Digest, Vec<LayerId>>,
    pub(crate) cache_mounts: Vec<CacheMount>,
    pub(crate) logs: Vec<(PathBuf, Found)>,
    pub(crate) indexes: Vec<(PathBuf, Found)>,
    /// The store's own files: records, names, locks, unfinished work.
    pub(crate) other: DiskUsage,
}

impl Inventory {
    /// Looks at the whole store.
    pub(crate) fn take(store: &Store, sizes: Sizes) -> Result<Self> {
        let mut inventory = Self::default();
        let mut measure = Measure::begin(store, sizes)?;
        inventory.look_at_content(store, &mut measure)?;
        inventory.read_names(store)?;
        inventory.measure_layers(store, &mut measure)?;
        inventory.look_at_the_rest(store, &mut measure)?;
        measure.end(store, &inventory)?;
        Ok(inventory)
    }

    fn look_at_content(&mut self, store: &Store, measure: &mut Measure) -> Result<()> {
        self.other += measure.counted.alone(&store.path("layers"))?;
        for path in list_files(&store.path("layers"))? {
            let Some(id) = layer_id(&path) else {
                self.other += measure.counted.usage(&path)?;
                continue;
            };
            // What it takes is counted once it is known what stays.
            let found = look_at(&path, DiskUsage::default())?;
            let base = store.layers().base(&id);
            self.bases.extend(base.map(|base| (id.clone(), base)));
            self.layers.extend(found.map(|found| (id, found)));
        }
        for algorithm in ["sha256", "sha512"] {
            let folder = store.path("blobs").join(algorithm);
            self.other += measure.counted.alone(&folder)?;
            for path in list_files(&folder)? {
                let Some(digest) = blob_digest(algorithm, &path) else {
                    self.other += measure.counted.usage(&path)?;
                    continue;
                };
                let usage = measure.counted.usage(&path)?;
                let found = look_at(&path, usage)?;
                self.blobs.extend(found.map(|found| (digest, found)));
            }
        }
        Ok(())
    }

    /// Counts what layers take. A file that several of them have counts for one that stays, if
    /// there is one: removing the others frees nothing of it.
    fn measure_layers(&mut self, store: &Store, measure: &mut Measure) -> Result<()> {
        let named = &self.named.layers;
        let (staying, rest): (Vec<_>, Vec<_>) = self
            .layers
            .iter_mut()
            .partition(|(id, found)| found.is_in_use || named.contains(id));
        for (id, found) in staying.into_iter().chain(rest) {
            found.usage = measure.layer(store, id)?;
        }
        Ok(())
    }

    fn read_names(&mut self, store: &Store) -> Result<()> {
        let listed = store.images().list_sound()?;
        for image in listed.images {
            self.named.add(store, &image.target)?;
        }
        self.damaged_names = listed.damaged;
        for path in list_files(&store.path("chains"))? {
            let chain = durable::read_json_or_forget::<Chain>(&path)?;
            self.chained.extend(chain.map(|chain| chain.layer));
        }
        self.read_records(store)?;
        self.read_facts(store)
    }

    fn read_records(&mut self, store: &Store) -> Result<()> {
        let mut groups: HashMap<Vec<LayerId>, Group> = HashMap::new();
        for folder in list_files(&store.path("records"))? {
            for path in list_files(&folder)? {
                let Some(stamp) = Stamp::of(&path)? else {
                    continue;
                };
                let record = durable::read_json_or_forget::<Record>(&path)?;
                let is_there = |layer: &LayerId| store.layers().exists(layer);
                match record.filter(|record| record.result.iter().all(is_there)) {
                    Some(record) => self.add_record(&mut groups, path, stamp, record),
                    None => self.broken_records.push((path, stamp)),
                }
            }
        }
        self.groups = groups.into_values().collect();
        Ok(())
    }

    /// Returns the layers of `stack` and those that they lie upon.
    pub(super) fn with_bases(&self, stack: &[LayerId]) -> Vec<LayerId> {
        let both = |id| self.bases.get(id).into_iter().chain([id]).cloned();
        stack.iter().flat_map(both).collect()
    }

    /// A result is used when it is looked up, and when what was built upon it is.
    fn add_record(
        &self,
        groups: &mut HashMap<Vec<LayerId>, Group>,
        path: PathBuf,
        stamp: Stamp,
        record: Record,
    ) {
        let top = record.result.last().and_then(|top| self.layers.get(top));
        let top_used = top.map_or(0, |found| found.stamp.used_seconds());
        let group = groups.entry(record.result.clone()).or_default();
        group.used_seconds = group.used_seconds.max(stamp.used_seconds()).max(top_used);
        group.files.push((path, stamp));
        group.layers = self.with_bases(&record.result);
        group.description = record.description;
    }

    fn read_facts(&mut self, store: &Store) -> Result<()> {
        for id in self.layers.keys() {
            let Some(facts) = store.layers().facts(id)? else {
                continue;
            };
            if matches!(facts.origin, LayerOrigin::Unpacked { .. }) {
                for archive in store.compressed().all(&facts.diff_id)? {
                    let layers = self.archives.entry(archive.digest).or_default();
                    layers.push(id.clone());
                }
            }
            self.facts.insert(id.clone(), facts);
        }
        Ok(())
    }

    fn look_at_the_rest(&mut self, store: &Store, measure: &mut Measure) -> Result<()> {
        for name in store.cache_mounts().names()? {
            self.cache_mounts.push(store.cache_mounts().examine(name)?);
        }
        self.other += measure.counted.alone(&store.path("cache-mounts"))?;
        for (folder, list) in [("logs", &mut self.logs), ("index", &mut self.indexes)] {
            self.other += measure.counted.alone(&store.path(folder))?;
            for path in list_files(&store.path(folder))? {
                let usage = measure.counted.usage(&path)?;
                list.extend(look_at(&path, usage)?.map(|found| (path, found)));
            }
        }
        if measure.sizes == Sizes::Exact {
            self.other += measure.counted.usage(store.root())?;
        }
        Ok(())
    }
}

/// Returns what is known of `path` if it is there.
fn look_at(path: &Path, usage: DiskUsage) -> Result<Option<Found>> {
    // The stamp first: a lease that begins after it changes it.
    let Some(stamp) = Stamp::of(path)? else {
        return Ok(None);
    };
    let is_in_use = match lease::claim(path)? {
        Claim::Absent => return Ok(None),
        Claim::InUse => true,
        Claim::Free(_) => false,
    };
    Ok(Some(Found {
        stamp,
        is_in_use,
        usage,
    }))
}

fn layer_id(path: &Path) -> Option<LayerId> {
    path.file_name()?.to_str()?.parse().ok()
}

fn blob_digest(algorithm: &str, path: &Path) -> Option<Digest> {
    let hex = path.file_name()?.to_str()?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// Measures what is found.
struct Measure {
    sizes: Sizes,
    counted: Counted,
    remembered: BTreeMap<LayerId, Size>,
}

/// What layers were found to take: their bytes and inodes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Size(u64, u64);

/// The file that remembers them, written by every collection.
pub(super) const SIZES: &str = "layer-sizes.json";

impl Measure {
    fn begin(store: &Store, sizes: Sizes) -> Result<Self> {
        let remembered = durable::read_json_or_forget(&store.path(SIZES))?;
        Ok(Self {
            sizes,
            counted: Counted::default(),
            remembered: remembered.unwrap_or_default(),
        })
    }

    fn layer(&mut self, store: &Store, id: &LayerId) -> Result<DiskUsage> {
        let known = self.remembered.get(id);
        match known.filter(|_| self.sizes == Sizes::Remembered) {
            // What a layer shares with others may be theirs the next time.
            Some(Size(bytes, inodes)) if !store.layers().shares_files(id) => Ok(DiskUsage {
                bytes: *bytes,
                inodes: *inodes,
            }),
            _ => self.counted.usage(&store.layers().folder(id)),
        }
    }

    /// Remembers the sizes for the next time, unless there is no room for them.
    fn end(self, store: &Store, inventory: &Inventory) -> Result<()> {
        if self.sizes == Sizes::Exact {
            return Ok(());
        }
        let sizes = inventory.layers.iter();
        let sizes: BTreeMap<&LayerId, Size> = sizes
            .map(|(id, found)| (id, Size(found.usage.bytes, found.usage.inodes)))
            .collect();
        let temporary = store.temporary();
        let written =
            temporary.and_then(|file| durable::write_json_lazily(file, &store.path(SIZES), &sizes));
        match written {
            Err(error) if error.is_out_of_space() => Ok(()),
            other => other,
        }
    }
}
