//! Sources that are fetched before there is a plan.

use crate::arguments::BuildArguments;
use crate::commands::build::{failure, options, progress_mode};
use crate::error::{Class, Failure};
use crate::progress::Progress;
use crate::session::Session;
use kiln_dockerfile::{ContextSource, ResolveError};
use kiln_engine::disk::Store;
use kiln_engine::sandbox::{Cancellation, host};
use kiln_engine::{BuildRequest, Builder, ContextFiles, EngineOptions};
use kiln_plan::{PlanBuilder, VertexId, VertexMetadata};

/// Fetches contexts that hold a Dockerfile, and shows it.
pub struct Fetcher<'a> {
    pub session: &'a Session,
    pub arguments: &'a BuildArguments,
    pub cancellation: &'a Cancellation,
}

impl Fetcher<'_> {
    /// Returns the store.
    pub(super) fn store(&self) -> Result<&Store, Failure> {
        Ok(&self.session.store)
    }

    /// Returns the files of `source`, which is shown as a step called `name`.
    pub(super) fn fetch(
        &self,
        source: &ContextSource,
        name: &str,
    ) -> Result<ContextFiles, Failure> {
        let (request, vertex) = self.request(source, name)?;
        let builder = self.builder()?;
        let progress = Progress::start(progress_mode(self.arguments), &request.plan);
        let files = builder.source(&request, vertex, self.cancellation, &|event| {
            progress.event(event);
        });
        progress.finish();
        files.map_err(|error| failure::of_source(error, &request))
    }

    /// Returns the time that stands for `source`, in seconds since 1970.
    pub fn time(&self, source: &ContextSource) -> Result<Option<i64>, ResolveError> {
        let (request, vertex) = self
            .request(source, "source")
            .map_err(Failure::into_error)?;
        let builder = self.builder().map_err(Failure::into_error)?;
        let time = builder.source_time(&request, vertex, self.cancellation, &|_| ());
        Ok(time?)
    }

    fn builder(&self) -> Result<Builder<'_>, Failure> {
        let engine = EngineOptions {
            probe: host::probe,
            limits: Default::default(),
            remotes: self.session.remotes.clone(),
        };
        let builder = Builder::new(&self.session.store, &self.session.client, engine)?;
        Ok(builder)
    }

    /// Returns what fetches `source`, and the step of it that does.
    fn request(
        &self,
        source: &ContextSource,
        name: &str,
    ) -> Result<(BuildRequest, VertexId), Failure> {
        let mut plan = PlanBuilder::new();
        let metadata = VertexMetadata {
            name: name.to_owned(),
            ..VertexMetadata::default()
        };
        let vertex = source.add_to(&mut plan, &metadata).ok_or_else(|| {
            Failure::new(Class::Usage, "an image cannot be the context of a build")
        })?;
        let request = BuildRequest {
            secrets: options::secrets(self.arguments)?,
            ssh_agents: options::ssh_agents(self.arguments)?,
            ..BuildRequest::of_plan(plan.finish(), options::default_jobs())
        };
        Ok((request, vertex))
    }
}
