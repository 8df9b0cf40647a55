//! Removing what was chosen, beside whatever else uses the store.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::choose::{Candidate, Choice};
use super::inventory::Found;
use super::item::Item;
use super::{PruneReport, listing};
use crate::error::Result;
use crate::images::list_files;
use crate::lease::{self, Claim, Stamp};
use crate::usage::{self, DiskUsage};
use crate::{Store, session};

/// How long it is remembered what a record was made of after the record is gone.
const EXPLAINED: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Removes what was chosen, unless it was used meanwhile.
pub(super) fn sweep(store: &Store, mut choice: Choice<'_>) -> Result<PruneReport> {
    let mut report = PruneReport::default();
    remove_records(store, &mut choice, &mut report)?;
    remove_layers(store, &choice, &mut report)?;
    remove_blobs(store, &choice, &mut report)?;
    remove_the_rest(store, &choice, &mut report)?;
    report.freed += store.chains().forget_missing()?;
    report.freed += forget_compressed(store, &choice)?;
    report.freed.bytes += store.recipes().remove_unused(EXPLAINED)?;
    Ok(report)
}

impl PruneReport {
    fn add(&mut self, item: Item, freed: DiskUsage) {
        self.freed += freed;
        let item = Item {
            usage: freed,
            ..item
        };
        self.removed.push(item);
    }
}

/// Records first, and from the disk, so that none outlives its layers.
fn remove_records(store: &Store, choice: &mut Choice<'_>, report: &mut PruneReport) -> Result<()> {
    let mut freed = DiskUsage::default();
    for number in chosen_groups(choice) {
        let files = &choice.inventory.groups[number].files;
        match is_any_changed(files)? {
            true => choice.keep_group(number),
            false => freed += remove_files(files)?,
        }
    }
    for file in &choice.inventory.broken_records {
        if !is_any_changed(std::slice::from_ref(file))? {
            freed += remove_files(std::slice::from_ref(file))?;
        }
    }
    report.freed += freed;
    match freed.inodes {
        0 => Ok(()),
        _ => store.sync(),
    }
}

fn chosen_groups(choice: &Choice<'_>) -> Vec<usize> {
    let chosen = choice.chosen.iter();
    let groups = chosen.filter_map(|(candidate, _)| match candidate {
        Candidate::Group(number) => Some(*number),
        _ => None,
    });
    groups.collect()
}

fn is_any_changed(files: &[(PathBuf, Stamp)]) -> Result<bool> {
    for (path, stamp) in files {
        if Stamp::of(path)?.as_ref() != Some(stamp) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_files(files: &[(PathBuf, Stamp)]) -> Result<DiskUsage> {
    let mut freed = DiskUsage::default();
    for (path, _) in files {
        freed += remove_file(path)?;
    }
    Ok(freed)
}

fn remove_file(path: &Path) -> Result<DiskUsage> {
    let freed = usage::freed_by_removal(path)?;
    session::remove_tree(path)?;
    Ok(freed)
}

fn remove_layers(store: &Store, choice: &Choice<'_>, report: &mut PruneReport) -> Result<()> {
    let inventory = choice.inventory;
    let descriptions = listing::descriptions(inventory);
    for (id, found) in &inventory.layers {
        if choice.is_kept(id) {
            continue;
        }
        let folder = store.layers().folder(id);
        let freed = remove_unused(store, &folder, found)?;
        let item = listing::layer(inventory, &descriptions, id);
        if let (Some(freed), Some(item)) = (freed, item) {
            report.add(item, freed);
        }
    }
    Ok(())
}

/// Removes `path` unless somebody uses it, or did since it was looked at.
fn remove_unused(store: &Store, path: &Path, found: &Found) -> Result<Option<DiskUsage>> {
    let Claim::Free(_lock) = lease::claim(path)? else {
        return Ok(None);
    };
    match Stamp::of(path)? == Some(found.stamp) {
        true => store.discard(path).map(Some),
        false => Ok(None),
    }
}

fn remove_blobs(store: &Store, choice: &Choice<'_>, report: &mut PruneReport) -> Result<()> {
    let inventory = choice.inventory;
    let archives = inventory.archives.iter();
    let unneeded = archives.filter(|(digest, layers)| choice.is_archive_unneeded(digest, layers));
    let chosen = choice
        .chosen
        .iter()
        .filter_map(|(candidate, _)| match candidate {
            Candidate::Blob(digest) => Some(digest),
            _ => None,
        });
    for digest in unneeded.map(|(digest, _)| digest).chain(chosen) {
        let Some(found) = inventory.blobs.get(digest).filter(|found| !found.is_in_use) else {
            continue;
        };
        let freed = remove_unused(store, &store.blobs().path(digest), found)?;
        if let (Some(freed), Some(item)) = (freed, listing::blob(inventory, digest)) {
            report.add(item, freed);
        }
    }
    Ok(())
}

fn remove_the_rest(store: &Store, choice: &Choice<'_>, report: &mut PruneReport) -> Result<()> {
    let inventory = choice.inventory;
    for (candidate, item) in &choice.chosen {
        let freed = match candidate {
            Candidate::CacheMount(number) => {
                let mount = &inventory.cache_mounts[*number];
                match store.cache_mounts().remove_unless_used_since(mount) {
                    // A turn takes a block: there is one the next time.
                    Err(error) if error.is_out_of_space() => None,
                    other => other?,
                }
            }
            Candidate::Log(number) => {
                let (path, found) = &inventory.logs[*number];
                remove_unused(store, path, found)?
            }
            Candidate::ContextIndex(number) => {
                let (path, found) = &inventory.indexes[*number];
                remove_unused(store, path, found)?
            }
            Candidate::Group(_) | Candidate::Chain(_) | Candidate::Blob(_) => None,
        };
        if let Some(freed) = freed {
            report.add(item.clone(), freed);
        }
    }
    Ok(())
}

/// Removes what is known of archives of layers that are gone.
///
/// A layer's digest is written before its archives': folders are listed first.
fn forget_compressed(store: &Store, choice: &Choice<'_>) -> Result<DiskUsage> {
    let folders = list_files(&store.path("compressed"))?;
    let mut known: HashSet<String> = HashSet::new();
    for id in store.layers().list()? {
        let facts = store.layers().all_facts(&id)?.into_iter();
        known.extend(facts.map(|facts| facts.diff_id.digest().hex().to_owned()));
    }
    let named = choice.inventory.named.diff_ids.iter();
    known.extend(named.map(|diff_id| diff_id.digest().hex().to_owned()));
    let is_unknown = |path: &&PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_none_or(|name| !known.contains(name))
    };
    let mut freed = DiskUsage::default();
    for folder in folders.iter().filter(is_unknown) {
        // A build may know a layer by its digest only, for as long as it lasts.
        if is_older(folder, FRESH)? {
            freed += store.discard(folder)?;
        }
    }
    Ok(freed)
}

/// How long what is known of archives is kept without a layer.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

fn is_older(path: &Path, age: Duration) -> Result<bool> {
    let changed = Stamp::of(path)?.map_or(0, |stamp| stamp.used_seconds());
    let passed = super::now_seconds().saturating_sub(changed);
    Ok(u64::try_from(passed).is_ok_and(|passed| passed >= age.as_secs()))
}
