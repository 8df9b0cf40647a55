//! One build from request to outputs.

use crate::cache::{AbsentLayers, ExportContext, Exporter, Offers, Records, RemoteCache};
use crate::context::Contexts;
use crate::emulation::{self, Emulation};
use crate::history::History;
use crate::op::empty_layers::EmptyLayers;
use crate::op::step_root::PlainRoots;
use crate::packing::{Packing, TakeLayers};
use crate::remote::{self, Fetcher, Remotes};
use crate::scene::Scenes;
use crate::settle::Settler;
use crate::visit::{Moment, Visit};
use crate::worker::{BuildWorker, Commands, Product};
use crate::{
    BuildError, BuildOutcome, BuildRequest, BuiltImage, CacheDestination, CacheTarget,
    ContextFiles, Event, LocalDirectory, StepChange, StepError, assemble, export, op, retry, scene,
};
use kiln_disk::{Scene, StepEnd, Store};
use kiln_layer::tree::WhiteoutFormat;
use kiln_plan::{Op, VertexId};
use kiln_registry::Client;
use kiln_sandbox::runspec::{Host, Limits};
use kiln_sandbox::{Cancellation, Outcome, Sandbox};
use kiln_solver::{Failure, Options};
use kiln_transfer::image::Image;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often files that change while they are read are looked at.
const LOOKS: usize = 3;

/// Whether a build is tried again when files change while they are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is.
    Early,
    /// It fails.
    Last,
}

/// Returns the result of `look`, which is tried again when files change while they are read.
/// What was done before that is not done again.
fn look_until_settled<T>(
    look: impl Fn(Look, &Cancellation) -> Result<T, BuildError>,
    cancellation: &Cancellation,
) -> Result<T, BuildError> {
    for _ in 1..LOOKS {
        match look(Look::Early, cancellation) {
            Err(error) if error.is_change() && !cancellation.is_cancelled() => {}
            result => return result,
        }
    }
    look(Look::Last, cancellation)
}

/// What a builder works with.
#[derive(Debug)]
pub struct EngineOptions {
    /// What this machine can do.
    pub host: Host,
    /// Limits on this process and all steps together.
    pub limits: Limits,
    /// What is known of remotes already.
    pub remotes: Remotes,
}

/// Carries out builds over one store.
pub struct Builder<'store> {
    store: &'store Store,
    client: &'store Client,
    sandbox: Sandbox,
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
        let whiteouts = kiln_disk::whiteout_format();
        let sandbox =
            Sandbox::limited(options.host, &options.limits).map_err(BuildError::Sandbox)?;
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

    /// Solves for the targets and does `then` with their results, while layers go to the
    /// remote caches that are to have them.
    fn attempt<T>(
        &self,
        attempt: &Attempt<'_>,
        then: impl FnOnce(
            &BuildWorker<'_>,
            &HashMap<VertexId, Product>,
            &Records<'_>,
        ) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let pinned = self.pinned(attempt)?;
        let attempt = &Attempt {
            request: pinned.as_ref().unwrap_or(attempt.request),
            ..*attempt
        };
        let (request, targets) = (attempt.request, attempt.targets);
        let context = ExportContext {
            store: self.store,
            client: self.client,
            absent: attempt.remote.absent(),
            epoch: request.times.latest_in_layers(),
        };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let caches = &request.cache_to;
            let (exporter, offers) =
                Exporter::start(scope, context, caches, &request.plan, targets);
            let (settler, notes) = (Settler::new(self.store), Notes::default());
            let cancellation = attempt.cancellation;
            let packing = Packing::new(scope, self.store, request, targets, cancellation, &is_over);
            let worker = self.worker(attempt, &settler, &notes, &offers, &packing);
            let products = self.solve(&worker, targets);
            let definitions = std::mem::take(&mut *lock(&worker.definitions));
            let records = Records {
                store: self.store,
                remote: attempt.remote,
                plan: &request.plan,
                targets,
                definitions: &definitions,
                epoch: request.times.latest_in_layers(),
            };
            let done = products.and_then(|products| then(&worker, &products, &records));
            drop(worker);
            drop(offers);
            is_over.store(true, Ordering::Relaxed);
            drop(packing);
            let records = done.is_ok().then_some(&records);
            export::caches(exporter.finish(records), attempt.observer).and(done)
        })
    }

    /// Returns the request with each checkout at the commit that it is now; nothing if it has
    /// no others.
    fn pinned(&self, attempt: &Attempt<'_>) -> Result<Option<BuildRequest>, BuildError> {
        let request = attempt.request;
        let plan = remote::pin(request, attempt.targets, |vertex| Fetcher {
            request,
            store: self.store,
            client: self.client,
            remotes: &self.remotes,
            cancellation: attempt.cancellation,
            observer: attempt.observer,
            vertex,
        })?;
        Ok(plan.map(|plan| BuildRequest {
            plan,
            ..request.clone()
        }))
    }

    fn worker<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        settler: &'a Settler<'a>,
        notes: &'a Notes,
        offers: &'a Offers,
        packing: &'a dyn TakeLayers,
    ) -> BuildWorker<'a> {
        BuildWorker {
            request: attempt.request,
            store: self.store,
            client: self.client,
            sandbox: &self.sandbox,
            whiteouts: self.whiteouts,
            cancellation: attempt.cancellation,
            history: &notes.history,
            scenes: &notes.scenes,
            look: attempt.look,
            has_seen_change: AtomicBool::new(false),
            contexts: Contexts::new(attempt.request, self.store),
            read: Mutex::default(),
            settler,
            remote: attempt.remote,
            offers,
            packing,
            imported: Mutex::default(),
            definitions: Mutex::default(),
            held: Mutex::default(),
            plain_roots: PlainRoots::default(),
            empty_layers: EmptyLayers::default(),
            remotes: &self.remotes,
            emulation: &self.emulation,
            commands: attempt.commands,
            observer: attempt.observer,
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
            worker.observer,
        )?;
        Ok(outcome)
    }

    /// Carries out the step `source` of `request` alone, and returns its files: those of a
    /// context that are needed before there is a plan. A plan that has the same step finds it
    /// done.
    pub fn source(
        &self,
        request: &BuildRequest,
        source: VertexId,
        cancellation: &Cancellation,
        observer: &(dyn Fn(Event) + Sync),
    ) -> Result<ContextFiles, BuildError> {
        let remote = RemoteCache::new(self.store, self.client, &[], observer);
        let attempt = Attempt {
            request,
            targets: &[source],
            remote: &remote,
            look: Look::Last,
            commands: Commands::Run,
            cancellation,
            observer,
        };
        self.attempt(&attempt, |worker, products, _| {
            let nothing = Product::Stack(Vec::new());
            let product = products.get(&source).unwrap_or(&nothing);
            let tree = match product {
                Product::Stack(stack) => worker.tree(stack),
                Product::Directory(name) => worker.contexts.open(name),
            };
            let failed = |error| BuildError::Steps(vec![(source, error)]);
            Ok(ContextFiles::of(tree.map_err(failed)?))
        })
    }

    /// Returns the time that stands for the source `source` of `request`, in seconds since 1970:
    /// that of the commit of a checkout, of the last change of a file that is fetched, of the
    /// newest file of an archive. `None` for one that has none.
    pub fn source_time(
        &self,
        request: &BuildRequest,
        source: VertexId,
        cancellation: &Cancellation,
        observer: &(dyn Fn(Event) + Sync),
    ) -> Result<Option<i64>, BuildError> {
        let failed = |error| match error {
            StepError::Cancelled => BuildError::Cancelled,
            error => BuildError::Steps(vec![(source, error)]),
        };
        match &request.plan.vertex(source).op {
            Op::Git(git) => {
                let fetcher = Fetcher {
                    request,
                    store: self.store,
                    client: self.client,
                    remotes: &self.remotes,
                    cancellation,
                    observer,
                    vertex: source,
                };
                fetcher.commit_time(git).map(Some).map_err(failed)
            }
            Op::Http(_) | Op::File(_) => {
                let files = self.source(request, source, cancellation, observer)?;
                let newest = files.newest_seconds();
                // A file without a time has that of 1970.
                let newest = newest.map_err(|error| failed(error.into()))?;
                Ok(newest.filter(|seconds| *seconds != 0))
            }
            _ => Ok(None),
        }
    }

    /// Runs a command where the step of `scene` ran, or would have: over its files, with its
    /// mounts, its user and its environment. Whatever it changes is gone afterwards.
    ///
    /// `request` has the secrets, the agents and the rights; its plan is that of the scene then.
    pub fn enter(
        &self,
        request: BuildRequest,
        scene: &Scene,
        visit: &Visit<'_>,
        cancellation: &Cancellation,
        observer: &(dyn Fn(Event) + Sync),
    ) -> Result<Outcome, BuildError> {
        let staged = scene::staged(scene, visit.name);
        let none = VertexId::from_index(0);
        let staged = staged.map_err(|error| BuildError::Steps(vec![(none, error)]))?;
        let mut request = BuildRequest {
            plan: staged.plan,
            images: Vec::new(),
            outputs: Vec::new(),
            cache_to: Vec::new(),
            ..request
        };
        request.directories = staged
            .directories
            .into_iter()
            .map(|(name, path)| (name, LocalDirectory::of(path)))
            .collect();
        let remote = RemoteCache::new(self.store, self.client, &[], observer);
        let attempt = Attempt {
            request: &request,
            targets: &[],
            remote: &remote,
            look: Look::Last,
            commands: Commands::Run,
            cancellation,
            observer,
        };
        let after = match visit.moment {
            Moment::Before => None,
            Moment::After => scene.after.as_deref(),
        };
        self.attempt(&attempt, |worker, _, _| {
            let entered = op::enter(worker, staged.vertex, &staged.inputs, after, visit);
            entered.map_err(|error| match error {
                StepError::Cancelled => BuildError::Cancelled,
                error => BuildError::Steps(vec![(staged.vertex, error)]),
            })
        })
    }

    fn solve(
        &self,
        worker: &BuildWorker<'_>,
        targets: &[VertexId],
    ) -> Result<HashMap<VertexId, Product>, BuildError> {
        let solved = std::thread::scope(|scope| {
            let recording = scope.spawn(|| worker.settler.run());
            let solved = solve(worker, targets, worker.observer);
            worker.settler.close();
            let recorded = recording
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            recorded.map_err(BuildError::from).and(Ok(solved))
        })?;
        worker.contexts.save();
        let solved = solved.map_err(failed);
        // A context that is fetched for its Dockerfile is no build that somebody asks about.
        let is_asked_about = !worker.request.images.is_empty();
        let is_repeated =
            worker.look == Look::Early && solved.as_ref().is_err_and(BuildError::is_change);
        if is_asked_about && !is_repeated {
            let definitions = lock(&worker.definitions);
            let scenes = (worker.scenes).all(worker.request, self.store, &definitions);
            let (request, outcome) = (worker.request, outcome(&solved));
            (worker.history).save(self.store, request, outcome, scenes);
        }
        Ok(targets.iter().copied().zip(solved?).collect())
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

/// What one attempt at a build works with.
struct Attempt<'a> {
    request: &'a BuildRequest,
    targets: &'a [VertexId],
    remote: &'a RemoteCache<'a>,
    look: Look,
    commands: Commands,
    cancellation: &'a Cancellation,
    observer: &'a (dyn Fn(Event) + Sync),
}

/// What is noted of a build while it runs.
#[derive(Default)]
struct Notes {
    history: History,
    scenes: Scenes,
}

/// Returns the results that the images are made of.
fn targets(request: &BuildRequest) -> Vec<VertexId> {
    let images = request.images.iter();
    images.filter_map(|image| image.result).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Solves the plan and tells the observer of each step once.
fn solve(
    worker: &BuildWorker<'_>,
    targets: &[VertexId],
    observer: &(dyn Fn(Event) + Sync),
) -> Result<Vec<Product>, Failure<StepError>> {
    let report = Report::new(worker.request, worker.history, observer);
    let options = Options {
        jobs: worker.request.jobs,
    };
    let solved = kiln_solver::solve(&worker.request.plan, targets, worker, options, &|event| {
        report.tell(event)
    });
    if let Err(failure) = &solved {
        report.tell_failures(failure, worker.look);
    }
    solved
}

/// Turns what the solver says into what people are shown.
struct Report<'a> {
    request: &'a BuildRequest,
    history: &'a History,
    observer: &'a (dyn Fn(Event) + Sync),
    started: Mutex<HashMap<VertexId, Instant>>,
}

impl<'a> Report<'a> {
    fn new(
        request: &'a BuildRequest,
        history: &'a History,
        observer: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Report {
            request,
            history,
            observer,
            started: Mutex::default(),
        }
    }

    fn tell(&self, event: kiln_solver::Event) {
        match event {
            kiln_solver::Event::Cached(vertex) => self.tell_cached(vertex),
            kiln_solver::Event::Started(vertex) => {
                self.begin(vertex);
                self.send(vertex, StepChange::Started);
            }
            kiln_solver::Event::Finished(vertex) => {
                let took = self.took(vertex);
                self.history.ended(vertex, StepEnd::Done, took);
                self.send(vertex, StepChange::Finished { took });
            }
            // Told with its reason at the end.
            kiln_solver::Event::Failed(_) => {}
        }
    }

    /// Steps below a cached one are not looked at: their results are in it. They are told
    /// first, as they come first in the Dockerfile.
    fn tell_cached(&self, vertex: VertexId) {
        let plan = &self.request.plan;
        let mut needed = vec![vertex];
        let mut seen = vec![false; plan.len()];
        while let Some(vertex) = needed.pop() {
            if !self.has_begun(vertex) && !std::mem::replace(&mut seen[vertex.index()], true) {
                needed.extend(plan.vertex(vertex).op.inputs());
            }
        }
        for (vertex, _) in plan.vertices().filter(|(vertex, _)| seen[vertex.index()]) {
            self.begin(vertex);
            self.history.covered(vertex);
            self.send(vertex, StepChange::Cached);
        }
    }

    fn tell_failures(&self, failure: &Failure<StepError>, look: Look) {
        for (vertex, error) in &failure.errors {
            if look == Look::Early && error.is_change() {
                let note = format!("{error}: looking at all files again");
                self.send(*vertex, StepChange::Note(note));
                continue;
            }
            let (message, took) = (error.to_string(), self.took(*vertex));
            self.history.ended(*vertex, StepEnd::Failed, took);
            self.send(*vertex, StepChange::Failed { message, took });
        }
    }

    /// Directories of this machine are no steps.
    fn send(&self, vertex: VertexId, change: StepChange) {
        if !matches!(self.request.plan.vertex(vertex).op, Op::Local(_)) {
            (self.observer)(Event::Step { vertex, change });
        }
    }

    fn begin(&self, vertex: VertexId) {
        self.lock().insert(vertex, Instant::now());
    }

    fn has_begun(&self, vertex: VertexId) -> bool {
        self.lock().contains_key(&vertex)
    }

    fn took(&self, vertex: VertexId) -> Duration {
        self.lock()
            .get(&vertex)
            .map(Instant::elapsed)
            .unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<VertexId, Instant>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome<T>(solved: &Result<T, BuildError>) -> kiln_disk::BuildOutcome {
    match solved {
        Ok(_) => kiln_disk::BuildOutcome::Succeeded,
        Err(BuildError::Cancelled) => kiln_disk::BuildOutcome::Cancelled,
        Err(_) => kiln_disk::BuildOutcome::Failed,
    }
}

/// A build that somebody cancelled has only cancelled steps.
fn failed(failure: Failure<StepError>) -> BuildError {
    let all_cancelled = failure
        .errors
        .iter()
        .all(|(_, error)| matches!(error, StepError::Cancelled));
    match all_cancelled {
        true => BuildError::Cancelled,
        false => BuildError::Steps(failure.errors),
    }
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
