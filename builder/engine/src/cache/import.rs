//! Looking for records in remote caches.
//!
//! Nothing is asked of a cache before the store lacks a record; then all caches are read at
//! once, each once per build. One that cannot be read is warned of and done without.

use super::{AbsentLayers, Backend, CacheError, CacheSource, LoadedCache, backend};
use crate::{Event, StepError};
use kiln_disk::{LayerId, Store};
use kiln_oci::Digest;
use kiln_registry::Client;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The remote caches of one build.
pub(crate) struct RemoteCache<'build> {
    sources: Vec<Source>,
    absent: AbsentLayers<'build>,
    /// Whether a hit turned out to lead nowhere: from then on nothing is looked up.
    is_given_up: AtomicBool,
    observer: &'build (dyn Fn(Event) + Sync),
}

struct Source {
    specification: String,
    backend: Arc<dyn Backend>,
    loaded: OnceLock<Vec<Indexed>>,
}

struct Indexed {
    cache: LoadedCache,
    numbers: HashMap<Digest, usize>,
}

/// A record of a remote cache.
pub(crate) struct RemoteRecord {
    pub stack: Vec<LayerId>,
    pub canonical_key: Digest,
    /// When the step ran, in seconds since 1970.
    pub created_seconds: i64,
    /// The cache, as the user named it.
    pub origin: String,
}

impl<'build> RemoteCache<'build> {
    pub fn new(
        store: &'build Store,
        client: &Client,
        sources: &[CacheSource],
        observer: &'build (dyn Fn(Event) + Sync),
    ) -> Self {
        let source = |source: &CacheSource| Source {
            specification: source.specification.clone(),
            backend: Arc::from(backend(&source.location, client)),
            loaded: OnceLock::new(),
        };
        RemoteCache {
            sources: sources.iter().map(source).collect(),
            absent: AbsentLayers::new(store),
            is_given_up: AtomicBool::new(false),
            observer,
        }
    }

    /// Returns the layers that hits led to and that are not here yet.
    pub fn absent(&self) -> &AbsentLayers<'build> {
        &self.absent
    }

    /// Returns the first record under `key`.
    pub fn find(&self, key: &Digest) -> Result<Option<RemoteRecord>, StepError> {
        if self.sources.is_empty() || self.is_given_up() {
            return Ok(None);
        }
        self.load_all();
        for source in &self.sources {
            for indexed in source.loaded.get().into_iter().flatten() {
                if let Some(number) = indexed.numbers.get(key) {
                    return self.record(source, indexed, *number).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn record(
        &self,
        source: &Source,
        indexed: &Indexed,
        number: usize,
    ) -> Result<RemoteRecord, StepError> {
        let document = &indexed.cache.document;
        let record = &document.records[number];
        let layers = document.stack(record);
        let stack = self
            .absent
            .stack(&indexed.cache, &layers, &source.backend)?;
        Ok(RemoteRecord {
            stack,
            canonical_key: record.canonical_key.clone(),
            created_seconds: record.created_seconds,
            origin: source.specification.clone(),
        })
    }

    /// Whether the caches were given up.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }

    /// Does without the caches from now on, and warns of it; `false` if that was done before.
    pub fn give_up(&self, reason: &dyn std::error::Error) -> bool {
        if self.sources.is_empty() || self.is_given_up.swap(true, Ordering::Relaxed) {
            return false;
        }
        let text = format!(
            "a layer of the remote cache cannot be had, going on without the cache: {}",
            with_causes(reason)
        );
        (self.observer)(Event::Warning { text });
        true
    }

    fn load_all(&self) {
        let missing = |source: &&Source| source.loaded.get().is_none();
        std::thread::scope(|scope| {
            for source in self.sources.iter().filter(missing) {
                scope.spawn(|| source.loaded.get_or_init(|| self.load(source)));
            }
        });
    }

    fn load(&self, source: &Source) -> Vec<Indexed> {
        match source.backend.load() {
            Ok(caches) => caches.into_iter().map(Indexed::new).collect(),
            Err(error) => {
                self.warn(source, &error);
                Vec::new()
            }
        }
    }

    fn warn(&self, source: &Source, error: &CacheError) {
        let text = format!(
            "cannot use the cache {}: {}",
            source.specification,
            with_causes(error)
        );
        (self.observer)(Event::Warning { text });
    }
}

impl Indexed {
    fn new(cache: LoadedCache) -> Self {
        let numbers = cache.document.index();
        Indexed { cache, numbers }
    }
}

/// Returns what `error` says, and what caused it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
