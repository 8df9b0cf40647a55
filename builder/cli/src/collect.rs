//! Garbage collection without being asked for, and what to do when the disk is full.
//!
//! A build collects before it begins when the disk is nearly full, and after it has ended when
//! the rules ask for it; never more than what rules and `kiln prune` would take, and never
//! what a running build uses.

use crate::arguments::GlobalArguments;
use crate::configuration::{self, GarbageCollection, GarbageRule};
use crate::error::Failure;
use crate::progress::size;
use crate::quantity::{self, Space};
use crate::{filters, session};
use kiln_engine::disk::{
    Error, FileSystemSpace, ItemFilter, ItemKind, Patience, PruneRule, PruneScope, Store,
};
use std::path::Path;
use std::time::Duration;

/// How often the whole store is looked at, where nothing presses.
const USUAL_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// How often when the store may be larger than it should.
const PRESSED_INTERVAL: Duration = Duration::from_secs(10 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const GIBIBYTE: u64 = 1 << 30;

/// What builds collect.
pub struct Collector {
    rules: Vec<PruneRule>,
}

impl Collector {
    /// Returns the rules of the configuration, or the usual ones.
    pub fn configured(global: &GlobalArguments, store: &Store) -> Result<Self, Failure> {
        let configuration = configuration::garbage_collection(global)?;
        let total = store.file_system_space()?.total_bytes;
        let rules = match (configuration.enabled, &configuration.rule) {
            (Some(false), _) => Vec::new(),
            (_, Some(rules)) => rules
                .iter()
                .map(|rule| configured_rule(rule, total))
                .collect::<Result<_, _>>()?,
            (_, None) => usual_rules(&configuration, total),
        };
        Ok(Collector { rules })
    }

    /// Collects before a build that would otherwise begin on a nearly full disk.
    pub fn before_build(&self, store: &Store) {
        if let Ok(space) = store.file_system_space()
            && self.is_disk_nearly_full(space)
        {
            self.collect(store);
        }
    }

    /// Collects after a build, if it is time to.
    pub fn after_build(&self, store: &Store) {
        let Ok(space) = store.file_system_space() else {
            return;
        };
        let interval = match self.may_be_too_large(space) {
            true => PRESSED_INTERVAL,
            false => USUAL_INTERVAL,
        };
        if self.is_disk_nearly_full(space) || store.was_collected_before(interval) {
            self.collect(store);
        }
    }

    fn is_disk_nearly_full(&self, space: FileSystemSpace) -> bool {
        let least = self.rules.iter().filter_map(|rule| rule.min_free_bytes);
        least
            .max()
            .is_some_and(|least| space.available_bytes < least)
    }

    /// The store takes no more than all that is on its file system.
    fn may_be_too_large(&self, space: FileSystemSpace) -> bool {
        let used = space.total_bytes.saturating_sub(space.available_bytes);
        let most = self.rules.iter().filter_map(|rule| rule.max_used_bytes);
        most.min().is_some_and(|most| used > most)
    }

    /// A build is not worse for garbage that stays: failures are only told.
    fn collect(&self, store: &Store) {
        if self.rules.is_empty() {
            return;
        }
        match store.prune(&self.rules, |_| Patience::GiveUp) {
            Ok(report) if report.freed.bytes > 0 => {
                crate::output::tell!("{} of unused cache removed", size(report.freed.bytes));
            }
            Ok(_) | Err(Error::GaveUpWaiting { .. }) => {}
            Err(error @ Error::DamagedName { .. }) => crate::output::tell!(
                "warning: cannot collect garbage: {error}: `kiln store verify --repair` sets it aside"
            ),
            Err(error) => crate::output::tell!("warning: cannot collect garbage: {error}"),
        }
    }
}

fn configured_rule(rule: &GarbageRule, total: u64) -> Result<PruneRule, Failure> {
    let filters = filters::parse(&rule.filters)?;
    let keep_duration = rule.keep_duration.as_deref();
    let keep_duration = keep_duration.map(|text| {
        let invalid = || Failure::usage(format!("invalid duration `{text}` in the configuration"));
        quantity::duration(text).ok_or_else(|| invalid().with_hint("write it as 48h or 7d"))
    });
    Ok(PruneRule {
        scope: PruneScope::Everything,
        filters: filters.items,
        all: rule.all,
        unused_for: keep_duration.transpose()?.or(filters.unused_for),
        reserved_bytes: rule.reserved_space.map(|space| space.of(total)),
        max_used_bytes: rule.max_used_space.map(|space| space.of(total)),
        min_free_bytes: rule.min_free_space.map(|space| space.of(total)),
    })
}

/// Logs for a month, everything else for two; then the least recently used, so that the store
/// has its share of the disk and the disk some air.
fn usual_rules(configuration: &GarbageCollection, total: u64) -> Vec<PruneRule> {
    let or = |space: Option<Space>, percent: u64, most: u64| match space {
        Some(space) => space.of(total),
        None => (total / 100 * percent).min(most),
    };
    let reserved_bytes = Some(or(configuration.reserved_space, 10, 10 * GIBIBYTE));
    let max_used_bytes = Some(or(configuration.max_used_space, 80, 100 * GIBIBYTE));
    let min_free_bytes = Some(or(configuration.min_free_space, 10, 20 * GIBIBYTE));
    let explanations = PruneRule {
        filters: vec![
            ItemFilter::Kind(ItemKind::Log),
            ItemFilter::Kind(ItemKind::ContextIndex),
        ],
        unused_for: Some(30 * DAY),
        ..PruneRule::default()
    };
    let forgotten = PruneRule {
        unused_for: Some(60 * DAY),
        reserved_bytes,
        ..PruneRule::default()
    };
    let least_recently_used = PruneRule {
        reserved_bytes,
        max_used_bytes,
        min_free_bytes,
        ..PruneRule::default()
    };
    vec![explanations, forgotten, least_recently_used]
}

/// Returns `failure`, with what to do if it is for want of room on the store's disk.
pub fn advise(global: &GlobalArguments, failure: Failure) -> Failure {
    let Ok(root) = session::root(global) else {
        return failure;
    };
    match failure.is_for_want_of_space() && !failure.is_about_files_outside(&root) {
        true => match advice(&root) {
            Some(advice) => failure.with_hint(advice),
            None => failure,
        },
        false => failure,
    }
}

fn advice(root: &Path) -> Option<String> {
    let store = Store::open(root).ok()?;
    let space = store.file_system_space().ok()?;
    let reclaimable = store.items().ok()?.reclaimable().bytes;
    let prune = match reclaimable {
        0 => "the store has nothing to spare".to_owned(),
        bytes => format!("`kiln prune` gives back {}", size(bytes)),
    };
    Some(format!(
        "free space on the disk of {} ({} of {} are free): {prune}; another store is named \
         with --root or KILN_ROOT",
        root.display(),
        size(space.available_bytes),
        size(space.total_bytes),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_rules_keep_a_share_of_the_disk_unless_told_otherwise() {
        let rules = usual_rules(&GarbageCollection::default(), 50 * GIBIBYTE);
        let last = rules.last().unwrap();
        assert_eq!(last.max_used_bytes, Some(50 * GIBIBYTE / 100 * 80));
        assert_eq!(last.reserved_bytes, Some(50 * GIBIBYTE / 100 * 10));
        let configuration = GarbageCollection {
            max_used_space: Some(Space::Bytes(7)),
            ..GarbageCollection::default()
        };
        let rules = usual_rules(&configuration, 50 * GIBIBYTE);
        assert_eq!(rules.last().unwrap().max_used_bytes, Some(7));
    }

    #[test]
    fn rules_of_the_configuration_are_those_of_prune() {
        let text = "[gc]\nenabled = true\n[[gc.rule]]\nfilters = [\"type=exec.cachemount\"]\n\
            keep-duration = \"48h\"\nmin-free-space = \"20%\"\n";
        let rule = configuration::parse(text)
            .unwrap()
            .gc
            .rule
            .unwrap()
            .remove(0);
        let expected = PruneRule {
            filters: vec![ItemFilter::Kind(ItemKind::CacheMount)],
            unused_for: Some(2 * DAY),
            min_free_bytes: Some(200),
            ..PruneRule::default()
        };
        assert_eq!(configured_rule(&rule, 1_000).unwrap(), expected);
    }
}
