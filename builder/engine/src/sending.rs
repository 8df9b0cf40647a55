//! Sending layers to the registries that an image will be pushed to, while it is still being built.

use crate::{BuildRequest, Destination, Output};
use kiln_layer::compress::Compression;
use kiln_oci::Reference;
use kiln_registry::Client;
use kiln_transfer::growing::GrowingLayer;
use kiln_transfer::push::Ahead;
use std::sync::Arc;
use std::thread::Scope;

/// The repositories that get layers ahead of their image.
#[derive(Clone)]
pub(crate) struct Sending<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    repositories: Vec<Repository<'scope>>,
}

#[derive(Clone)]
struct Repository<'scope> {
    ahead: Arc<Ahead<'scope>>,
    /// In which forms it will have the layers.
    compressions: Vec<Compression>,
}

impl<'scope, 'env> Sending<'scope, 'env> {
    /// Returns one for the repositories that `request` pushes to; nothing more is sent once
    /// `stop` says so.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        client: &'scope Client,
        request: &BuildRequest,
        stop: impl Fn() -> bool + Clone + Send + Sync + 'scope,
    ) -> Self {
        let mut repositories: Vec<Repository<'scope>> = Vec::new();
        for (name, compression) in destinations(request) {
            let known = repositories.iter_mut().find(|one| one.ahead.goes_to(&name));
            match known {
                Some(repository) => repository.compressions.push(compression),
                None => repositories.push(Repository {
                    ahead: Arc::new(Ahead::new(client, name, stop.clone())),
                    compressions: vec![compression],
                }),
            }
        }
        Sending {
            scope,
            repositories,
        }
    }

    /// Sends `layer`, which is being made in the form `compression`, to who will have it.
    pub fn send(&self, compression: Compression, layer: &GrowingLayer) {
        for repository in &self.repositories {
            if repository.compressions.contains(&compression) {
                let (ahead, layer) = (Arc::clone(&repository.ahead), layer.clone());
                ahead.offer(&layer);
                self.scope.spawn(move || ahead.send(&layer));
            }
        }
    }

    /// Returns what is sent to the repository of `target`.
    pub fn ahead(&self, target: &Reference) -> Option<&Ahead<'scope>> {
        let ahead = |one: &'_ Repository<'scope>| one.ahead.goes_to(target);
        let found = self.repositories.iter().find(|one| ahead(one))?;
        Some(&found.ahead)
    }
}

/// Returns the names that images get in registries, with the form of their layers there.
fn destinations(request: &BuildRequest) -> Vec<(Reference, Compression)> {
    let is_push = |output: &&Output| matches!(output.destination, Destination::Registry(_));
    let pushes = request.outputs.iter().filter(is_push);
    let named = pushes.flat_map(|output| {
        let compression = output.compression.settled();
        // A name that is none is told when it is needed.
        let names = output.image_names(&request.names).unwrap_or_default();
        names.into_iter().map(move |name| (name, compression))
    });
    named.collect()
}
