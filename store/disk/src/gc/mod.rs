//! What a store is made of, and removing what is not needed.
//!
//! Needed is what named images lead to and what living processes use ([`crate::lease`]); all
//! else is cache. The least recently used goes first: records that lead to a result, then
//! the layers and blobs that nothing leads to any more. Records are gone from the disk
//! before their layers are touched, and whatever is removed first gets out of its place by
//! one rename: killed at any point, a collection leaves a store in which nothing dangles.

mod choose;
mod inventory;
mod item;
mod listing;
mod reach;
mod sweep;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{At, Result};
use crate::usage::DiskUsage;
use crate::{Patience, Store, Waiting, damaged, partial};
use choose::Choice;
use inventory::{Inventory, Sizes};
pub use item::{Item, ItemFilter, ItemKind, ItemState, meets};
pub use listing::Listing;
pub(crate) use reach::Reached;

/// What a collection looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PruneScope {
    /// Everything that is cache.
    #[default]
    Everything,
    /// What images brought that no longer have a name; results of steps are not touched.
    Images,
}

/// What may be removed, and how much of it.
///
/// Without any limit on space, all that meets the conditions is removed. With limits the
/// least recently used is, until the store takes at most `max_used_bytes` and the file
/// system has `min_free_bytes`; but what `reserved_bytes` hold is always kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneRule {
    /// What is looked at.
    pub scope: PruneScope,
    /// Conditions on what may be removed.
    pub filters: Vec<ItemFilter>,
    /// Whether also logs and context indexes may be removed without being asked for by type.
    pub all: bool,
    /// Only what was not used for that long may be removed.
    pub unused_for: Option<Duration>,
    /// The store may always have that much.
    pub reserved_bytes: Option<u64>,
    /// The store should have that much at most.
    pub max_used_bytes: Option<u64>,
    /// The file system should have that much left.
    pub min_free_bytes: Option<u64>,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// What was removed, with the room that it gave back.
    pub removed: Vec<Item>,
    /// The room that was given back in all, records included.
    pub freed: DiskUsage,
}

/// The room on the file system of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// What this user may still use, in bytes.
    pub available_bytes: u64,
}

/// What has come of a blob is kept that long for whoever goes on with it.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The lock under which one process at a time collects.
const LOCK: &str = "garbage collection";

impl Store {
    /// Returns everything in the store with the room it takes, counting every inode once.
    pub fn items(&self) -> Result<Listing> {
        Ok(listing::of(&Inventory::take(self, Sizes::Exact)?))
    }

    /// Removes what `rules` say, one after the other, beside whatever else uses the store.
    ///
    /// Waits for others that collect as long as `on_wait` has patience. Errors: also a damaged
    /// name, for nobody knows what it needs.
    pub fn prune(
        &self,
        rules: &[PruneRule],
        on_wait: impl FnMut(Waiting) -> Patience,
    ) -> Result<PruneReport> {
        let _lock = self.lock_key(LOCK, on_wait)?;
        let mut inventory = Inventory::take(self, Sizes::Remembered)?;
        if let Some(damaged) = inventory.damaged_names.pop() {
            return Err(damaged);
        }
        let mut choice = Choice::of(&inventory);
        let space = self.file_system_space()?;
        for rule in rules {
            choice.apply(rule, now_seconds(), space);
        }
        let mut report = sweep::sweep(self, choice)?;
        let all = rules.iter().any(|rule| rule.all);
        let unused_for = if all { Duration::ZERO } else { ABANDONED_AFTER };
        report.freed += partial::remove_abandoned(self, unused_for)?;
        report.freed += damaged::remove_old(self, unused_for)?;
        Ok(report)
    }

    /// Whether nobody has collected for `interval`, in a store that is older than that.
    pub fn was_collected_before(&self, interval: Duration) -> bool {
        let changed = |name| std::fs::metadata(self.path(name)).and_then(|file| file.modified());
        let made = changed(crate::version::FILE_NAME);
        let latest = changed(inventory::SIZES).into_iter().chain(made).max();
        // Times in the future are as good as now.
        latest.is_some_and(|latest| latest.elapsed().is_ok_and(|elapsed| elapsed >= interval))
    }

    /// Returns the room on the store's file system.
    pub fn file_system_space(&self) -> Result<FileSystemSpace> {
        let status = rustix::fs::statvfs(self.root()).at("examine", self.root())?;
        Ok(FileSystemSpace {
            total_bytes: status.f_blocks * status.f_frsize,
            available_bytes: status.f_bavail * status.f_frsize,
        })
    }
}

fn now_seconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
