//! What `FROM` means: the store's images first, then registries.

use kiln_dockerfile::{ImageResolver, ResolveError, ResolvedBase};
use kiln_engine::disk::Store;
use kiln_engine::registry::Client;
use kiln_oci::{Platform, Reference};
use kiln_transfer::pull::{self, PullPolicy};

/// Resolves images by a store and a registry client.
pub struct StoreResolver<'a> {
    pub store: &'a Store,
    pub client: &'a Client,
    pub policy: PullPolicy,
}

impl ImageResolver for StoreResolver<'_> {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let image = pull::resolve(self.store, self.client, reference, platform, self.policy)?;
        Ok(ResolvedBase {
            digest: image.digest().clone(),
            platform: image.config.platform(),
            config: image.config,
        })
    }
}
