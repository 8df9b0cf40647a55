//! One build from request to outputs.

mod attempt;
mod look;
mod report;
mod single;

use crate::cache::{AbsentLayers, Records, RemoteCache};
use crate::emulation::{self, Emulation};
use crate::remote::Remotes;
use crate::step_sandbox::StepSandbox;
use crate::worker::{BuildWorker, Commands, Product};
use crate::{
    BuildError, BuildOutcome, BuildRequest, BuiltImage, CacheDestination, CacheTarget, Event,
    StepError, assemble, export, retry,
};
use attempt::Attempt;
use kiln_disk::Store;
use kiln_layer::tree::WhiteoutFormat;
use kiln_plan::VertexId;
use kiln_registry::Client;
use kiln_sandbox::Cancellation;
use kiln_sandbox::runspec::{Host, Limits};
use kiln_transfer::image::Image;
pub(crate) use look::Look;
use look::look_until_settled;
use std::collections::HashMap;

/// What a builder works with.
#[derive(Debug)]
pub struct EngineOptions {
    /// Finds out what this machine can do, if a command is run.
    pub probe: fn() -> Host,
    /// Limits on this process and all steps together.
    pub limits: Limits,
    /// What is known of remotes already.
    pub remotes: Remotes,
}

/// Carries out builds over one store.
pub struct Builder<'store> {
    store: &'store Store,
    client: &'store Client,
    sandbox: StepSandbox,
    whiteouts: WhiteoutFormat,
    remotes: Remotes,
    emulation: Emulation,
}

impl<'store> Builder<'store> {
    /// Returns a builder over `store` that pulls and pushes by `client`.
    pub fn new(
        store: &'store Store,
        client: &'store Client,
        options: EngineOptions,
    ) -> Result<Self, BuildError> {
        let whiteouts = store.whiteout_format();
        let sandbox = StepSandbox::new(options.probe, &options.limits);
        let sandbox = sandbox.map_err(BuildError::Sandbox)?;
        Ok(Builder {
            store,
            client,
            sandbox,
            whiteouts,
            remotes: options.remotes,
            emulation: Emulation::default(),
        })
    }

    /// Carries out `request`: solves its plan, stores the images under their names and hands
    /// them to the outputs. `observer` is told what happens, from several threads.
    ///
    /// A remote cache that turns out to lack a layer is given up, and what it was to save is
    /// carried out instead.
    pub fn build(
        &self,
        request: &BuildRequest,
        cancellation: &Cancellation,
        observer: &(dyn Fn(Event) + Sync),
    ) -> Result<BuildOutcome, BuildError> {
        let remote = RemoteCache::new(self.store, self.client, &request.cache_from, observer);
        self.check_emulators(request, &remote, cancellation)?;
        let look = |look: Look, cancellation: &Cancellation| {
            self.attempt(
                &Attempt {
                    request,
                    targets: &targets(request),
                    remote: &remote,
                    look,
                    commands: Commands::Run,
                    cancellation,
                    observer,
                },
                |worker, products, records| self.hand_over(worker, products, records),
            )
        };
        let attempt = |cancellation: &Cancellation| look_until_settled(look, cancellation);
        if request.cache_from.is_empty() {
            return attempt(cancellation);
        }
        match retry::within(cancellation, attempt) {
            Err(error) if !cancellation.is_cancelled() => match retry::missing_layer(&error) {
                Some(reason) if remote.give_up(reason) => retry::within(cancellation, attempt),
                _ => Err(error),
            },
            built => built,
        }
    }

    /// Fails if commands have to be run whose programs this machine cannot run: now, not when
    /// others have run for long.
    ///
    /// What is recorded needs no emulator, and a build that finds all of it needs none. Whether
    /// that is so is found out without running anything.
    fn check_emulators(
        &self,
        request: &BuildRequest,
        remote: &RemoteCache<'_>,
        cancellation: &Cancellation,
    ) -> Result<(), BuildError> {
        let targets = targets(request);
        let place = emulation::Place {
            store: self.store,
            sandbox: &self.sandbox,
            confinement: &request.confinement,
            cancellation,
        };
        if self.emulation.fits(&request.plan, &targets, &place) {
            return Ok(());
        }
        let request = &BuildRequest {
            images: Vec::new(),
            outputs: Vec::new(),
            cache_to: Vec::new(),
            ..request.clone()
        };
        let looked = retry::within(cancellation, |cancellation| {
            let attempt = Attempt {
                request,
                targets: &targets,
                remote,
                look: Look::Last,
                commands: Commands::Refused,
                cancellation,
                observer: &|_| {},
            };
            self.attempt(&attempt, |_, _, _| Ok(()))
        });
        match looked {
            Err(BuildError::Steps(mut errors)) => {
                errors.retain(|(_, error)| matches!(error, StepError::Emulation(_)));
                match errors.is_empty() {
                    true => Ok(()),
                    false => Err(BuildError::Steps(errors)),
                }
            }
            // What else fails, fails again and is told then.
            _ => Ok(()),
        }
    }

    /// Makes images of the results and hands them to the outputs.
    fn hand_over(
        &self,
        worker: &BuildWorker<'_>,
        products: &HashMap<VertexId, Product>,
        records: &Records<'_>,
    ) -> Result<BuildOutcome, BuildError> {
        let request = worker.request;
        if worker.cancellation.is_cancelled() {
            // What was asked to stop has no result, even if the last step was too fast.
            return Err(BuildError::Cancelled);
        }
        let absent = worker.remote.absent();
        for product in products.values() {
            export::provide(worker, product)?;
        }
        worker.record_imported()?;
        let images = self.images(request, products, absent, records)?;
        let mut outcome = BuildOutcome {
            build_id: request.build_id.clone(),
            target: kiln_transfer::image::index(
                self.store,
                &images,
                request.listing,
                &request.annotations,
            )?,
            images: images.iter().map(built_image).collect(),
            exported: None,
        };
        outcome.exported = export::export(
            self.store,
            self.client,
            request,
            &images,
            &outcome.target,
            worker.packing,
            worker.observer,
        )?;
        Ok(outcome)
    }

    fn images(
        &self,
        request: &BuildRequest,
        products: &HashMap<VertexId, Product>,
        absent: &AbsentLayers<'_>,
        records: &Records<'_>,
    ) -> Result<Vec<Image>, BuildError> {
        let is_inline = |target: &CacheTarget| target.destination == CacheDestination::Inline;
        let inline = request.cache_to.iter().any(is_inline).then_some(records);
        let images = request.images.iter().map(|planned| {
            let product = planned.result.and_then(|vertex| products.get(&vertex));
            assemble::assemble(self.store, request, planned, product, absent, inline)
        });
        images.collect()
    }
}

/// Returns the results that the images are made of.
fn targets(request: &BuildRequest) -> Vec<VertexId> {
    let images = request.images.iter();
    images.filter_map(|image| image.result).collect()
}

fn built_image(image: &Image) -> BuiltImage {
    BuiltImage {
        platform: image.config.platform(),
        manifest: image.manifest.clone(),
        config: image.config_descriptor.clone(),
    }
}

/// Returns a name that sorts by time and that no other process gives at once.
pub fn new_build_id() -> String {
    let now = jiff::Timestamp::now();
    format!("{}-{}", now.as_millisecond(), std::process::id())
}
