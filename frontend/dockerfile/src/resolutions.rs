//! Images that were looked for, each once, several at a time.

use crate::compile::{ImageResolver, ResolvedBase};
use kiln_oci::{Platform, Reference};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How many images are looked for at once.
const MOST_AT_ONCE: usize = 8;

type Wanted = (Reference, Platform);
type Found = Result<ResolvedBase, Arc<dyn Error + Send + Sync>>;

/// What the resolver said.
pub(crate) struct Resolutions<'a> {
    resolver: &'a dyn ImageResolver,
    known: Mutex<HashMap<Wanted, Found>>,
}

impl<'a> Resolutions<'a> {
    pub(crate) fn new(resolver: &'a dyn ImageResolver) -> Self {
        Resolutions {
            resolver,
            known: Mutex::default(),
        }
    }

    /// Looks for all of `wanted` that are not known yet. Failures are kept for who asks.
    pub(crate) fn look_for(&self, wanted: Vec<Wanted>) {
        let mut unknown: Vec<Wanted> = Vec::new();
        for one in wanted {
            if !self.known().contains_key(&one) && !unknown.contains(&one) {
                unknown.push(one);
            }
        }
        for several in unknown.chunks(MOST_AT_ONCE) {
            thread::scope(|scope| {
                for (reference, platform) in several {
                    scope.spawn(move || {
                        let found = self.resolver.resolve(reference, platform);
                        let found = found.map_err(Arc::from);
                        let wanted = (reference.clone(), platform.clone());
                        self.known().insert(wanted, found);
                    });
                }
            });
        }
    }

    /// Returns what `reference` means for `platform`; looks for it if need be.
    pub(crate) fn get(&self, reference: &Reference, platform: &Platform) -> Found {
        let wanted = (reference.clone(), platform.clone());
        self.look_for(vec![wanted.clone()]);
        let found = self.known().get(&wanted).cloned();
        found.unwrap_or_else(|| {
            let ended: Box<dyn Error + Send + Sync> = "the search for the image ended early".into();
            Err(Arc::from(ended))
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Wanted, Found>> {
        // A resolver that panics leaves the map as it was.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
