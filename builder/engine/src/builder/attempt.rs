//! One attempt at a build: the plan is solved, and what is asked is done with the results.
//!
//! A build is attempted again when files change while they are read, and when a remote cache
//! lacks what it promised.

use super::report::Report;
use super::{Builder, Look};
use crate::cache::{ExportContext, Exporter, Offers, Records, RemoteCache};
use crate::context::Contexts;
use crate::history::History;
use crate::op::empty_layers::EmptyLayers;
use crate::op::step_root::PlainRoots;
use crate::packing::{Packing, TakeLayers};
use crate::remote::{self, Fetcher};
use crate::scene::Scenes;
use crate::settle::Settler;
use crate::worker::{BuildWorker, Commands, Product};
use crate::{BuildError, BuildRequest, Event, StepError, export};
use kiln_plan::VertexId;
use kiln_sandbox::Cancellation;
use kiln_solver::{Failure, Options, Rest};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What one attempt at a build works with.
pub(super) struct Attempt<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) targets: &'a [VertexId],
    pub(super) remote: &'a RemoteCache<'a>,
    pub(super) look: Look,
    pub(super) commands: Commands,
    pub(super) cancellation: &'a Cancellation,
    pub(super) observer: &'a (dyn Fn(Event) + Sync),
}

/// What is noted of a build while it runs.
#[derive(Default)]
struct Notes {
    history: History,
    scenes: Scenes,
}

impl Builder<'_> {
    /// Solves for the targets and does `then` with their results, while layers go to the
    /// remote caches that are to have them.
    pub(super) fn attempt<T>(
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
            let places = (self.store, self.client);
            let packing = Packing::new(scope, places, request, targets, cancellation, &is_over);
            let worker = self.worker(attempt, &settler, &notes, &offers, &packing);
            let products = self.solve(&worker, targets);
            // While the main thread waits for the disk.
            scope.spawn(|| self.store.remove_discarded());
            if let Some(sandbox) = self.sandbox.made()
                && sandbox.keeps_networks()
            {
                scope.spawn(|| sandbox.release_networks());
            }
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
        rest: match worker.commands {
            Commands::Run => Rest::Stops,
            // Nothing runs; everything that cannot is to be found.
            Commands::Refused => Rest::GoesOn,
        },
    };
    let solved = kiln_solver::solve(&worker.request.plan, targets, worker, options, &|event| {
        report.tell(event)
    });
    if let Err(failure) = &solved {
        report.tell_failures(failure, worker.look);
    }
    solved
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
