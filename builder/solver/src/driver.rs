//! Drives the scheduler: answers its requests by a worker, on threads.

use crate::{Executed, Found, Graph, Keys, Request, Response, Scheduler};
use crossbeam_channel::{Receiver, Sender, unbounded};
use kiln_oci::Digest;
use kiln_plan::{CacheKey, VertexId};
use std::collections::VecDeque;
use std::thread::Scope;

/// Knows what operations do and where results are kept.
pub trait Worker: Sync {
    /// A result, cheap to clone: a handle of what is kept.
    type Output: Clone + Send;
    /// Why something could not be done.
    type Error: Send;

    /// Returns the record of `vertex` under `key`, if there is one whose result is still kept.
    fn probe(
        &self,
        vertex: VertexId,
        key: &CacheKey,
    ) -> Result<Option<Found<Self::Output>>, Self::Error>;

    /// Returns the digest of what `vertex` selects of its input number `input`.
    ///
    /// `source` is that input's result; `None` for a keyless one.
    fn digest(
        &self,
        vertex: VertexId,
        input: usize,
        source: Option<&Self::Output>,
    ) -> Result<Digest, Self::Error>;

    /// Executes `vertex` and returns its result. `keys` is `None` for a keyless vertex.
    fn execute(
        &self,
        vertex: VertexId,
        keys: Option<&Keys>,
        inputs: &[Self::Output],
    ) -> Result<Executed<Self::Output>, Self::Error>;

    /// Records a result under both keys: it was executed, or found under its content key.
    fn remember(
        &self,
        vertex: VertexId,
        keys: &Keys,
        found: &Found<Self::Output>,
    ) -> Result<(), Self::Error>;

    /// Ends what is being executed as soon as possible: something else has failed.
    fn cancel(&self);

    /// Takes the definition keys of all vertices, by their number, as far as they are known
    /// when the graph is solved.
    fn solved(&self, _definitions: &[Option<CacheKey>]) {}
}

/// How to solve.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many vertices are executed at once, at most.
    pub jobs: usize,
    /// What is done with the rest when a vertex fails.
    pub rest: Rest,
}

/// What becomes of other vertices when one has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing new is started and what runs is cancelled.
    Stops,
    /// All that does not need it goes on, so that every failure is found.
    GoesOn,
}

/// What happens to a vertex, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its recorded result is used.
    Cached(VertexId),
    /// Its execution starts.
    Started(VertexId),
    /// It was executed.
    Finished(VertexId),
    /// Its execution failed.
    Failed(VertexId),
}

/// Why a graph was not solved: everything that failed, in order of time.
#[derive(Debug)]
pub struct Failure<Error> {
    /// The failed vertices with their errors. The first is what ended the others.
    pub errors: Vec<(VertexId, Error)>,
}

/// Returns the results of `targets`, executing what no record is found of.
///
/// What happens after the first failure is said by [`Options::rest`].
pub fn solve<G: Graph, W: Worker>(
    graph: &G,
    targets: &[VertexId],
    worker: &W,
    options: Options,
    observer: &(dyn Fn(Event) + Sync),
) -> Result<Vec<W::Output>, Failure<W::Error>> {
    std::thread::scope(|scope| Driver::new(graph, targets, worker, options, observer).run(scope))
}

type Answer<W> = Result<Response<<W as Worker>::Output>, Failed<<W as Worker>::Error>>;

/// A request that could not be carried out.
struct Failed<Error> {
    vertex: VertexId,
    error: Error,
    was_execution: bool,
}

struct Driver<'env, G: Graph, W: Worker> {
    scheduler: Scheduler<'env, G, W::Output>,
    worker: &'env W,
    options: Options,
    observer: &'env (dyn Fn(Event) + Sync),
    answers: (Sender<Answer<W>>, Receiver<Answer<W>>),
    queued: VecDeque<Request<W::Output>>,
    executing: usize,
    outstanding: usize,
    errors: Vec<(VertexId, W::Error)>,
}

impl<'env, G: Graph, W: Worker> Driver<'env, G, W> {
    fn new(
        graph: &'env G,
        targets: &[VertexId],
        worker: &'env W,
        options: Options,
        observer: &'env (dyn Fn(Event) + Sync),
    ) -> Self {
        Driver {
            scheduler: Scheduler::new(graph, targets),
            worker,
            options,
            observer,
            answers: unbounded(),
            queued: VecDeque::new(),
            executing: 0,
            outstanding: 0,
            errors: Vec::new(),
        }
    }

    fn run<'scope>(
        mut self,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Vec<W::Output>, Failure<W::Error>> {
        loop {
            self.take_requests(scope);
            if self.outstanding == 0 {
                break;
            }
            let answer = self.answers.1.recv().expect("the driver holds a sender");
            self.outstanding -= 1;
            self.take_answer(answer);
        }
        match self.scheduler.results() {
            Some(results) if self.errors.is_empty() => {
                self.worker.solved(self.scheduler.definitions());
                Ok(results)
            }
            _ => Err(Failure {
                errors: self.errors,
            }),
        }
    }

    /// Starts all that may start now.
    fn take_requests<'scope>(&mut self, scope: &'scope Scope<'scope, 'env>) {
        while self.errors.is_empty() || self.options.rest == Rest::GoesOn {
            let Some(request) = self.startable() else {
                break;
            };
            match request {
                Request::Probe { vertex, key } => self.probe(vertex, &key),
                Request::Remember {
                    vertex,
                    keys,
                    found,
                } => {
                    self.check(vertex, self.worker.remember(vertex, &keys, &found));
                }
                request => self.spawn(scope, request),
            }
        }
    }

    fn startable(&mut self) -> Option<Request<W::Output>> {
        if self.executing < self.options.jobs.max(1) && !self.queued.is_empty() {
            return self.queued.pop_front();
        }
        loop {
            let request = self.scheduler.next_request()?;
            let limited = matches!(request, Request::Execute { .. });
            if !limited || self.executing < self.options.jobs.max(1) {
                return Some(request);
            }
            self.queued.push_back(request);
        }
    }

    /// Probes are a look at one small file: no thread is worth it.
    fn probe(&mut self, vertex: VertexId, key: &CacheKey) {
        match self.worker.probe(vertex, key) {
            Ok(Some(found)) => {
                (self.observer)(Event::Cached(vertex));
                self.scheduler.respond(Response::Hit(vertex, found));
            }
            Ok(None) => self.scheduler.respond(Response::Miss(vertex)),
            Err(error) => self.fail(vertex, error),
        }
    }

    fn spawn<'scope>(&mut self, scope: &'scope Scope<'scope, 'env>, request: Request<W::Output>) {
        self.outstanding += 1;
        if matches!(request, Request::Execute { .. }) {
            self.executing += 1;
        }
        let (worker, observer) = (self.worker, self.observer);
        let sender = self.answers.0.clone();
        scope.spawn(move || {
            let answer = answer(worker, observer, request);
            // The driver receives until nothing is outstanding.
            let _ = sender.send(answer);
        });
    }

    fn take_answer(&mut self, answer: Answer<W>) {
        match answer {
            Ok(response) => {
                if matches!(response, Response::Executed(..)) {
                    self.executing -= 1;
                }
                self.scheduler.respond(response);
            }
            Err(failed) => {
                self.executing -= usize::from(failed.was_execution);
                self.fail(failed.vertex, failed.error);
            }
        }
    }

    fn check(&mut self, vertex: VertexId, result: Result<(), W::Error>) {
        if let Err(error) = result {
            self.fail(vertex, error);
        }
    }

    fn fail(&mut self, vertex: VertexId, error: W::Error) {
        if self.errors.is_empty() && self.options.rest == Rest::Stops {
            self.worker.cancel();
        }
        self.errors.push((vertex, error));
    }
}

/// Carries out a request that takes time; on a thread of its own.
fn answer<W: Worker>(
    worker: &W,
    observer: &(dyn Fn(Event) + Sync),
    request: Request<W::Output>,
) -> Answer<W> {
    match request {
        Request::Digest {
            vertex,
            input,
            source,
        } => worker
            .digest(vertex, input, source.as_ref())
            .map(|digest| Response::Digested(vertex, input, digest))
            .map_err(|error| Failed {
                vertex,
                error,
                was_execution: false,
            }),
        Request::Execute {
            vertex,
            keys,
            inputs,
        } => execute(worker, observer, vertex, keys.as_ref(), &inputs)
            .map(|executed| Response::Executed(vertex, executed))
            .map_err(|error| Failed {
                vertex,
                error,
                was_execution: true,
            }),
        Request::Probe { .. } | Request::Remember { .. } => {
            unreachable!("answered by the driver itself")
        }
    }
}

fn execute<W: Worker>(
    worker: &W,
    observer: &(dyn Fn(Event) + Sync),
    vertex: VertexId,
    keys: Option<&Keys>,
    inputs: &[W::Output],
) -> Result<Executed<W::Output>, W::Error> {
    observer(Event::Started(vertex));
    let result = worker.execute(vertex, keys, inputs).and_then(|executed| {
        if let Some(keys) = keys {
            let canonical = executed.canonical.as_ref().unwrap_or(&keys.content);
            let found = Found {
                output: executed.output.clone(),
                canonical: canonical.clone(),
            };
            worker.remember(vertex, keys, &found)?;
        }
        Ok(executed)
    });
    observer(if result.is_ok() {
        Event::Finished(vertex)
    } else {
        Event::Failed(vertex)
    });
    result
}
