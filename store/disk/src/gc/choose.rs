//! What is to go, by rules. Nothing is touched here.

use std::collections::{HashMap, HashSet};

use kiln_oci::Digest;

use super::inventory::Inventory;
use super::item::{Item, ItemState, meets};
use super::{FileSystemSpace, PruneRule, PruneScope, listing};
use crate::LayerId;

/// Something that rules choose as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Candidate {
    /// The records of one result, by their place in the inventory.
    Group(usize),
    /// That a layer can be found by its chain.
    Chain(LayerId),
    Blob(Digest),
    /// By its place in the inventory, as the next two.
    CacheMount(usize),
    Log(usize),
    ContextIndex(usize),
}

/// What is in a store and what of it is to go.
pub(super) struct Choice<'a> {
    pub(super) inventory: &'a Inventory,
    /// What can still be chosen.
    candidates: Vec<(Candidate, Item)>,
    /// What was chosen.
    pub(super) chosen: Vec<(Candidate, Item)>,
    /// How many results and chains lead to each layer.
    leading: HashMap<LayerId, usize>,
    /// What the store will take when all that was chosen is gone.
    used_bytes: u64,
    freed_bytes: u64,
}

impl<'a> Choice<'a> {
    /// Returns the choice of nothing but what nothing leads to.
    pub(super) fn of(inventory: &'a Inventory) -> Self {
        let mut choice = Self {
            inventory,
            candidates: candidates(inventory),
            chosen: Vec::new(),
            leading: leading(inventory),
            used_bytes: 0,
            freed_bytes: 0,
        };
        let kept = inventory.layers.keys().filter(|id| choice.is_kept(id));
        let layers = kept.map(|id| inventory.layers[id].usage.bytes);
        let blobs = inventory.blobs.values().map(|found| found.usage.bytes);
        let mounts = inventory.cache_mounts.iter();
        let mounts = mounts.map(|mount| mount.usage.bytes);
        let rest = inventory.logs.iter().chain(&inventory.indexes);
        let rest = rest.map(|(_, found)| found.usage.bytes);
        choice.used_bytes = layers.chain(blobs).chain(mounts).chain(rest).sum();
        choice
    }

    /// Chooses what `rule` says, the least recently used first.
    pub(super) fn apply(&mut self, rule: &PruneRule, now_seconds: i64, space: FileSystemSpace) {
        let (mut eligible, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.candidates)
            .into_iter()
            .partition(|candidate| is_eligible(candidate, rule, now_seconds));
        self.candidates = rest;
        // Of results that were used at one time the largest stack first: it is built upon
        // the others.
        eligible.sort_by_key(|(candidate, item)| {
            let layers = self.layers_of(candidate).len();
            (item.used_seconds, std::cmp::Reverse(layers))
        });
        for (candidate, item) in eligible {
            match self.is_wanted(rule, space) {
                true => self.choose(candidate, item),
                false => self.candidates.push((candidate, item)),
            }
        }
    }

    /// Whether more has to go for `rule`.
    fn is_wanted(&self, rule: &PruneRule, space: FileSystemSpace) -> bool {
        let PruneRule {
            reserved_bytes,
            max_used_bytes,
            min_free_bytes,
            ..
        } = *rule;
        if (reserved_bytes, max_used_bytes, min_free_bytes) == (None, None, None) {
            return true;
        }
        let available = space.available_bytes + self.freed_bytes;
        let is_too_large = max_used_bytes.is_some_and(|most| self.used_bytes > most);
        let is_disk_full = min_free_bytes.is_some_and(|least| available < least);
        // A reserve alone asks to go down to it.
        let is_reserve_alone = (max_used_bytes, min_free_bytes) == (None, None);
        (is_too_large || is_disk_full || is_reserve_alone)
            && self.used_bytes > reserved_bytes.unwrap_or(0)
    }

    fn choose(&mut self, candidate: Candidate, item: Item) {
        let mut freed = match candidate {
            Candidate::Group(_) | Candidate::Chain(_) => 0,
            _ => item.usage.bytes,
        };
        for layer in self.layers_of(&candidate) {
            freed += self.lead_away(&layer);
        }
        self.freed_bytes += freed;
        self.used_bytes = self.used_bytes.saturating_sub(freed);
        self.chosen.push((candidate, item));
    }

    /// One less leads to `layer`; returns the bytes that are free for it.
    fn lead_away(&mut self, layer: &LayerId) -> u64 {
        if let Some(count) = self.leading.get_mut(layer) {
            *count = count.saturating_sub(1);
        }
        let inventory = self.inventory;
        let found = inventory.layers.get(layer);
        let Some(found) = found.filter(|_| !self.is_kept(layer)) else {
            return 0;
        };
        let is_its = |layers: &Vec<LayerId>| layers.contains(layer);
        let archives = inventory.archives.iter();
        let archives = archives
            .filter(|(digest, layers)| is_its(layers) && self.is_archive_unneeded(digest, layers));
        let blobs = archives.filter_map(|(digest, _)| inventory.blobs.get(digest));
        found.usage.bytes + blobs.map(|found| found.usage.bytes).sum::<u64>()
    }

    /// Takes a choice back: the records were used meanwhile.
    pub(super) fn keep_group(&mut self, number: usize) {
        let inventory = self.inventory;
        for layer in &inventory.groups[number].layers {
            *self.leading.entry(layer.clone()).or_default() += 1;
        }
    }

    /// Whether something still needs the layer.
    pub(super) fn is_kept(&self, layer: &LayerId) -> bool {
        let is_in_use = |id| {
            let found = self.inventory.layers.get(id);
            found.is_some_and(|found| found.is_in_use)
        };
        self.leading.get(layer).is_some_and(|count| *count > 0)
            || self.inventory.named.layers.contains(layer)
            || is_in_use(layer)
    }

    /// Whether the archive is of layers that all go.
    pub(super) fn is_archive_unneeded(&self, digest: &Digest, layers: &[LayerId]) -> bool {
        let is_named = self.inventory.named.blobs.contains(digest);
        !is_named && !layers.iter().any(|layer| self.is_kept(layer))
    }

    fn layers_of(&self, candidate: &Candidate) -> Vec<LayerId> {
        match candidate {
            Candidate::Group(number) => self.inventory.groups[*number].layers.clone(),
            Candidate::Chain(layer) => self.inventory.with_bases(std::slice::from_ref(layer)),
            _ => Vec::new(),
        }
    }
}

fn leading(inventory: &Inventory) -> HashMap<LayerId, usize> {
    let mut leading = HashMap::new();
    for group in &inventory.groups {
        // A result may have a layer twice; it leads to it as often, here and when it goes.
        for layer in &group.layers {
            *leading.entry(layer.clone()).or_default() += 1;
        }
    }
    for chained in &inventory.chained {
        for layer in inventory.with_bases(std::slice::from_ref(chained)) {
            *leading.entry(layer).or_default() += 1;
        }
    }
    leading
}

fn candidates(inventory: &Inventory) -> Vec<(Candidate, Item)> {
    let descriptions = listing::descriptions(inventory);
    let mut all = Vec::new();
    for (number, group) in inventory.groups.iter().enumerate() {
        let top = group.layers.last();
        let item = top.and_then(|top| listing::layer(inventory, &descriptions, top));
        let item = item.map(|item| Item {
            used_seconds: group.used_seconds,
            ..item
        });
        all.extend(item.map(|item| (Candidate::Group(number), item)));
    }
    for layer in &inventory.chained {
        let item = listing::layer(inventory, &descriptions, layer);
        all.extend(item.map(|item| (Candidate::Chain(layer.clone()), item)));
    }
    let archives: HashSet<&Digest> = inventory.archives.keys().collect();
    for digest in inventory.blobs.keys() {
        let item = listing::blob(inventory, digest);
        let item = item.filter(|_| !archives.contains(digest));
        all.extend(item.map(|item| (Candidate::Blob(digest.clone()), item)));
    }
    for (number, mount) in inventory.cache_mounts.iter().enumerate() {
        all.push((Candidate::CacheMount(number), listing::cache_mount(mount)));
    }
    for (number, (path, found)) in inventory.logs.iter().enumerate() {
        all.push((Candidate::Log(number), listing::log(path, found)));
    }
    for (number, (path, found)) in inventory.indexes.iter().enumerate() {
        let item = listing::context_index(path, found);
        all.push((Candidate::ContextIndex(number), item));
    }
    all
}

fn is_eligible((candidate, item): &(Candidate, Item), rule: &PruneRule, now_seconds: i64) -> bool {
    let is_state_right = match item.state {
        ItemState::Reclaimable => true,
        // Its records may go; the layer stays.
        ItemState::Named => rule.all && matches!(candidate, Candidate::Group(_)),
        ItemState::InUse => false,
    };
    let is_in_scope = match rule.scope {
        PruneScope::Everything => true,
        PruneScope::Images => matches!(candidate, Candidate::Chain(_) | Candidate::Blob(_)),
    };
    let is_asked_for = |item: &Item| {
        let filters = rule.filters.iter();
        let mut kinds = filters.filter(|filter| **filter == super::ItemFilter::Kind(item.kind));
        kinds.next().is_some()
    };
    let is_kind_right = !item.kind.is_internal() || rule.all || is_asked_for(item);
    let age_seconds = now_seconds.saturating_sub(item.used_seconds);
    let is_old = rule
        .unused_for
        .is_none_or(|least| u64::try_from(age_seconds).is_ok_and(|age| age >= least.as_secs()));
    is_in_scope && is_state_right && is_kind_right && is_old && meets(item, &rule.filters)
}
