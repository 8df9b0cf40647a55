//! Single steps of a plan: the files of a source, its time, a command in a step's place.

use super::attempt::Attempt;
use super::{Builder, Look};
use crate::cache::RemoteCache;
use crate::remote::Fetcher;
use crate::visit::{Moment, Visit};
use crate::worker::{Commands, Product};
use crate::{BuildError, BuildRequest, ContextFiles, Event, LocalDirectory, StepError, op, scene};
use kiln_disk::Scene;
use kiln_plan::{Op, VertexId};
use kiln_sandbox::{Cancellation, Outcome};

impl Builder<'_> {
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
}
