//! The core: a state machine that says what must be done next.
//!
//! Every vertex is in one [`State`]. A vertex that nobody demands stays idle for ever; that is
//! what makes a warm build cheap: its target hits, and nothing below is looked at.

use crate::Graph;
use kiln_oci::Digest;
use kiln_plan::{CacheKey, InputKey, VertexId};
use std::collections::{HashMap, VecDeque};

/// Something that the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<Output> {
    /// Look for a record of `vertex` under `key`.
    Probe {
        /// The vertex.
        vertex: VertexId,
        /// Its definition key or its content key.
        key: CacheKey,
    },
    /// Digest what `vertex` selects of its input number `input`.
    Digest {
        /// The reader.
        vertex: VertexId,
        /// Which of its inputs.
        input: usize,
        /// The input's result; `None` for a keyless one, which the worker knows by itself.
        source: Option<Output>,
    },
    /// Execute `vertex`.
    Execute {
        /// The vertex.
        vertex: VertexId,
        /// The keys its result is to be recorded under; `None` for a keyless vertex.
        keys: Option<Keys>,
        /// Results of its inputs, in their order.
        inputs: Vec<Output>,
    },
    /// Record what was found under the content key under the definition key too.
    Remember {
        /// The vertex.
        vertex: VertexId,
        /// The keys.
        keys: Keys,
        /// The result.
        found: Found<Output>,
    },
}

/// The outcome of a request. (`Remember` has none.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<Output> {
    /// A probe found a record.
    Hit(VertexId, Found<Output>),
    /// A probe found nothing.
    Miss(VertexId),
    /// A digest of an input is known.
    Digested(VertexId, usize, Digest),
    /// A vertex was executed.
    Executed(VertexId, Executed<Output>),
}

/// A result that was made, or that somebody else made meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed<Output> {
    /// The result.
    pub output: Output,
    /// Its identity in the content keys of readers; the content key when absent.
    ///
    /// A step that ran again although a result was recorded has one of its own: what builds
    /// upon the new result must not be taken for what was built upon the old one.
    pub canonical: Option<CacheKey>,
}

/// A recorded result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<Output> {
    /// The result.
    pub output: Output,
    /// The key under which it was first recorded: its identity in the content keys of readers.
    pub canonical: CacheKey,
}

/// The keys of a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Made of the operation and the inputs' keys.
    pub definition: CacheKey,
    /// Made of the operation and what it really reads; the canonical key of a new result.
    pub content: CacheKey,
    /// What stands for each input in the content key.
    pub inputs: Vec<InputKey>,
}

#[derive(Clone, Debug)]
enum State<Output> {
    /// Nobody has asked for it.
    Idle,
    /// Asked for; its definition key waits for digests of keyless inputs.
    Demanded,
    /// A record is looked for under the definition key.
    ProbingDefinition,
    /// The inputs were demanded and are not all there.
    AwaitingInputs,
    /// What it reads of its inputs is being digested.
    Digesting,
    /// A record is looked for under the content key.
    ProbingContent(Keys),
    /// It runs.
    Executing(Option<Keys>),
    /// Its result is there.
    Done(Output, Option<CacheKey>),
}

/// The state machine over one graph.
pub struct Scheduler<'graph, G: Graph, Output> {
    graph: &'graph G,
    states: Vec<State<Output>>,
    definitions: Vec<Option<CacheKey>>,
    /// Whether a vertex, or anything that it needs, disregards what is recorded: then a record
    /// under its definition key is of an older result.
    renewed: Vec<bool>,
    /// Digests of selected content, by reader and input number.
    digests: HashMap<(VertexId, usize), Digest>,
    /// Readers of each vertex that wait for its result.
    waiting: HashMap<VertexId, Vec<VertexId>>,
    readers: Vec<Vec<VertexId>>,
    /// Vertices to demand: a list instead of recursion, for chains of any length.
    wanted: Vec<VertexId>,
    requests: VecDeque<Request<Output>>,
    targets: Vec<VertexId>,
}

impl<'graph, G: Graph, Output: Clone> Scheduler<'graph, G, Output> {
    /// Returns a scheduler that wants the results of `targets`.
    pub fn new(graph: &'graph G, targets: &[VertexId]) -> Self {
        let count = targets
            .iter()
            .map(|target| target.index() + 1)
            .max()
            .unwrap_or(0);
        let mut scheduler = Scheduler {
            graph,
            states: (0..count).map(|_| State::Idle).collect(),
            definitions: vec![None; count],
            renewed: renewed(graph, count),
            digests: HashMap::new(),
            waiting: HashMap::new(),
            readers: vec![Vec::new(); count],
            wanted: targets.to_vec(),
            requests: VecDeque::new(),
            targets: targets.to_vec(),
        };
        scheduler.ask_for_outside_content();
        scheduler.demand_wanted();
        scheduler
    }

    /// Returns the next thing to do, if there is one by now.
    pub fn next_request(&mut self) -> Option<Request<Output>> {
        self.requests.pop_front()
    }

    /// Returns the targets' results once all are there.
    pub fn results(&self) -> Option<Vec<Output>> {
        self.targets
            .iter()
            .map(|target| self.output(*target))
            .collect()
    }

    /// Returns the definition keys, by vertex, as far as they are known.
    pub fn definitions(&self) -> &[Option<CacheKey>] {
        &self.definitions
    }

    /// Takes the outcome of a request.
    pub fn respond(&mut self, response: Response<Output>) {
        match response {
            Response::Hit(vertex, found) => self.hit(vertex, found),
            Response::Miss(vertex) => self.missed(vertex),
            Response::Digested(vertex, input, digest) => self.digested(vertex, input, digest),
            Response::Executed(vertex, executed) => self.executed(vertex, executed),
        }
        self.demand_wanted();
    }

    /// Asks for the content of every keyless vertex that a reachable vertex reads, and
    /// computes the definition keys of all others. Definition keys need nothing else.
    fn ask_for_outside_content(&mut self) {
        let reachable = self.reachable();
        for vertex in reachable {
            for (input, source) in self.graph.inputs(vertex).into_iter().enumerate() {
                self.readers[source.index()].push(vertex);
                if self.graph.is_keyless(source) {
                    self.requests.push_back(Request::Digest {
                        vertex,
                        input,
                        source: None,
                    });
                }
            }
            self.define(vertex);
        }
    }

    /// Returns what the targets need, inputs first.
    fn reachable(&self) -> Vec<VertexId> {
        let mut needed = vec![false; self.states.len()];
        for target in &self.targets {
            needed[target.index()] = true;
        }
        // Inputs have lower numbers: one pass downwards marks them all.
        for index in (0..needed.len()).rev() {
            if needed[index] {
                for input in self.graph.inputs(VertexId::from_index(index)) {
                    needed[input.index()] = true;
                }
            }
        }
        (0..needed.len())
            .filter(|index| needed[*index])
            .map(VertexId::from_index)
            .collect()
    }

    /// Computes the definition key of `vertex`, and then of its readers, as far as all that
    /// they are made of is known. Who waited for its key goes on.
    fn define(&mut self, vertex: VertexId) {
        let mut candidates = vec![vertex];
        while let Some(vertex) = candidates.pop() {
            let Some(key) = self.compute_definition(vertex) else {
                continue;
            };
            self.definitions[vertex.index()] = Some(key);
            if matches!(self.states[vertex.index()], State::Demanded) {
                self.probe_definition(vertex);
            }
            candidates.extend(&self.readers[vertex.index()]);
        }
    }

    fn compute_definition(&self, vertex: VertexId) -> Option<CacheKey> {
        if self.definitions[vertex.index()].is_some() || self.graph.is_keyless(vertex) {
            return None;
        }
        let input_keys: Option<Vec<InputKey>> = (self.graph.inputs(vertex).into_iter().enumerate())
            .map(|(input, source)| self.definition_input(vertex, input, source))
            .collect();
        Some(self.graph.key(vertex, &input_keys?))
    }

    fn definition_input(
        &self,
        vertex: VertexId,
        input: usize,
        source: VertexId,
    ) -> Option<InputKey> {
        if self.graph.is_keyless(source) {
            return self
                .digests
                .get(&(vertex, input))
                .cloned()
                .map(InputKey::Content);
        }
        self.definitions[source.index()]
            .clone()
            .map(InputKey::Result)
    }

    fn demand_wanted(&mut self) {
        while let Some(vertex) = self.wanted.pop() {
            self.demand(vertex);
        }
    }

    fn demand(&mut self, vertex: VertexId) {
        if !matches!(self.states[vertex.index()], State::Idle) {
            return;
        }
        if self.graph.is_keyless(vertex) {
            self.execute(vertex, None);
        } else if self.definitions[vertex.index()].is_some() {
            self.probe_definition(vertex);
        } else {
            self.states[vertex.index()] = State::Demanded;
        }
    }

    fn probe_definition(&mut self, vertex: VertexId) {
        if self.renewed[vertex.index()] {
            return self.demand_inputs(vertex);
        }
        self.states[vertex.index()] = State::ProbingDefinition;
        let key = self.definition(vertex);
        self.requests.push_back(Request::Probe { vertex, key });
    }

    fn demand_inputs(&mut self, vertex: VertexId) {
        self.states[vertex.index()] = State::AwaitingInputs;
        for source in self.graph.inputs(vertex) {
            self.waiting.entry(source).or_default().push(vertex);
            self.wanted.push(source);
        }
        self.proceed_with_inputs(vertex);
    }

    /// Goes on with `vertex` when every input's result is there.
    fn proceed_with_inputs(&mut self, vertex: VertexId) {
        let complete = self
            .graph
            .inputs(vertex)
            .iter()
            .all(|input| self.output(*input).is_some());
        if !complete || !matches!(self.states[vertex.index()], State::AwaitingInputs) {
            return;
        }
        self.states[vertex.index()] = State::Digesting;
        for (input, source) in self.graph.inputs(vertex).into_iter().enumerate() {
            let known = self.digests.contains_key(&(vertex, input));
            if self.graph.reads_content(vertex, input) && !known {
                let source = self.output(source);
                self.requests.push_back(Request::Digest {
                    vertex,
                    input,
                    source,
                });
            }
        }
        self.proceed_with_content(vertex);
    }

    /// Goes on with `vertex` when all that it reads is digested.
    fn proceed_with_content(&mut self, vertex: VertexId) {
        if !matches!(self.states[vertex.index()], State::Digesting) {
            return;
        }
        let inputs = self.graph.inputs(vertex);
        let input_keys: Option<Vec<InputKey>> = inputs
            .iter()
            .enumerate()
            .map(|(input, source)| self.content_input(vertex, input, *source))
            .collect();
        let Some(input_keys) = input_keys else { return };
        let keys = Keys {
            definition: self.definition(vertex),
            content: self.graph.key(vertex, &input_keys),
            inputs: input_keys,
        };
        let is_probed = keys.content == keys.definition && !self.renewed[vertex.index()];
        if is_probed || self.graph.ignores_cache(vertex) {
            return self.execute(vertex, Some(keys));
        }
        self.requests.push_back(Request::Probe {
            vertex,
            key: keys.content.clone(),
        });
        self.states[vertex.index()] = State::ProbingContent(keys);
    }

    fn content_input(&self, vertex: VertexId, input: usize, source: VertexId) -> Option<InputKey> {
        if self.graph.reads_content(vertex, input) || self.graph.is_keyless(source) {
            return self
                .digests
                .get(&(vertex, input))
                .cloned()
                .map(InputKey::Content);
        }
        match &self.states[source.index()] {
            State::Done(_, canonical) => canonical.clone().map(InputKey::Result),
            _ => None,
        }
    }

    fn execute(&mut self, vertex: VertexId, keys: Option<Keys>) {
        self.states[vertex.index()] = State::Executing(keys.clone());
        let inputs = self.graph.inputs(vertex);
        let inputs = inputs
            .iter()
            .filter_map(|input| self.output(*input))
            .collect();
        self.requests.push_back(Request::Execute {
            vertex,
            keys,
            inputs,
        });
    }

    fn hit(&mut self, vertex: VertexId, found: Found<Output>) {
        if let State::ProbingContent(keys) = &self.states[vertex.index()] {
            self.requests.push_back(Request::Remember {
                vertex,
                keys: keys.clone(),
                found: found.clone(),
            });
        }
        self.finish(vertex, found.output, Some(found.canonical));
    }

    fn missed(&mut self, vertex: VertexId) {
        match self.states[vertex.index()].clone() {
            State::ProbingDefinition => self.demand_inputs(vertex),
            State::ProbingContent(keys) => self.execute(vertex, Some(keys)),
            _ => {}
        }
    }

    fn digested(&mut self, vertex: VertexId, input: usize, digest: Digest) {
        self.digests.insert((vertex, input), digest);
        self.define(vertex);
        self.proceed_with_content(vertex);
    }

    fn executed(&mut self, vertex: VertexId, executed: Executed<Output>) {
        let State::Executing(keys) = &self.states[vertex.index()] else {
            return;
        };
        let content = keys.as_ref().map(|keys| keys.content.clone());
        self.finish(vertex, executed.output, executed.canonical.or(content));
    }

    fn finish(&mut self, vertex: VertexId, output: Output, canonical: Option<CacheKey>) {
        self.states[vertex.index()] = State::Done(output, canonical);
        for reader in self.waiting.remove(&vertex).unwrap_or_default() {
            self.proceed_with_inputs(reader);
        }
    }

    fn output(&self, vertex: VertexId) -> Option<Output> {
        match &self.states[vertex.index()] {
            State::Done(output, _) => Some(output.clone()),
            _ => None,
        }
    }

    fn definition(&self, vertex: VertexId) -> CacheKey {
        self.definitions[vertex.index()]
            .clone()
            .expect("probed only once its key is known")
    }
}

/// Returns which of the first `count` vertices need one that disregards what is recorded.
fn renewed<G: Graph>(graph: &G, count: usize) -> Vec<bool> {
    let mut renewed = Vec::with_capacity(count);
    for vertex in (0..count).map(VertexId::from_index) {
        let inputs = graph.inputs(vertex);
        let is_above = inputs.iter().any(|input| renewed[input.index()]);
        renewed.push(is_above || graph.ignores_cache(vertex));
    }
    renewed
}
