//! What `FROM` means: the store's images first, then registries.

use crate::commands::build::Fetcher;
use kiln_dockerfile::{ContextSource, ImageResolver, ResolveError, ResolvedBase};
use kiln_engine::disk::Store;
use kiln_engine::registry::Client;
use kiln_oci::{Digest, Platform, Reference};
use kiln_transfer::pull::{self, PullPolicy};
use std::collections::BTreeSet;

/// Resolves images by a store and a registry client.
pub struct StoreResolver<'a> {
    pub store: &'a Store,
    pub client: &'a Client,
    pub policy: PullPolicy,
    /// Images that were brought into the store from elsewhere.
    pub imported: &'a BTreeSet<Digest>,
    /// Who fetches what is no image.
    pub fetcher: Fetcher<'a>,
}

impl ImageResolver for StoreResolver<'_> {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let is_imported = |digest| self.imported.contains(digest);
        let policy = match reference.digest().is_some_and(is_imported) {
            true => PullPolicy::Never,
            false => self.policy,
        };
        let image = pull::resolve(self.store, self.client, reference, platform, policy)?;
        Ok(ResolvedBase {
            digest: image.digest().clone(),
            platform: image.config.platform(),
            config: image.config,
        })
    }
    fn source_time(&self, source: &ContextSource) -> Result<Option<i64>, ResolveError> {
        self.fetcher.time(source)
    }
}
