//! What the solver says, turned into what people are shown.

use super::Look;
use crate::history::History;
use crate::{BuildRequest, Event, StepChange, StepError};
use kiln_disk::StepEnd;
use kiln_plan::{Op, VertexId};
use kiln_solver::Failure;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells the observer of each step once.
pub(super) struct Report<'a> {
    request: &'a BuildRequest,
    history: &'a History,
    observer: &'a (dyn Fn(Event) + Sync),
    started: Mutex<HashMap<VertexId, Instant>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
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

    pub(super) fn tell(&self, event: kiln_solver::Event) {
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

    pub(super) fn tell_failures(&self, failure: &Failure<StepError>, look: Look) {
        for (vertex, error) in &failure.errors {
            if look == Look::Early && error.is_change() {
                let note = format!("{error}: looking at all files again");
                self.send(*vertex, StepChange::Note(note));
                continue;
            }
            let (message, took) = (error.to_string(), self.took(*vertex));
            self.history.ended(*vertex, StepEnd::Failed, took);
            let change = match error {
                StepError::Cancelled => StepChange::Cancelled { took },
                _ => StepChange::Failed { message, took },
            };
            self.send(*vertex, change);
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
