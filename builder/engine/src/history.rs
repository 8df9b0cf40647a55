//! What a build did, noted while it runs and kept in the store for those who ask afterwards.

use crate::BuildRequest;
use kiln_disk::{
    BuildOutcome, BuildRecord, InputContent, Recipe, RecipeInput, Record, RunCause, Scene, StepEnd,
    StepOutcome, StepRecord, StepUsage, Store,
};
use kiln_oci::Digest;
use kiln_plan::{InputKey, InputUse, Op, VertexId};
use kiln_solver::{Graph, Keys};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Notes of one build.
pub(crate) struct History {
    started: Instant,
    started_seconds: i64,
    steps: Mutex<HashMap<VertexId, StepOutcome>>,
    /// Records that were found, by the vertex that they are of.
    found: Mutex<HashMap<VertexId, Record>>,
}

impl Default for History {
    /// Returns the empty notes of a build that starts now.
    fn default() -> Self {
        History {
            started: Instant::now(),
            started_seconds: jiff::Timestamp::now().as_second(),
            steps: Mutex::default(),
            found: Mutex::default(),
        }
    }
}

impl History {
    /// Notes that a record of `vertex` was found in the store, or in the remote `cache`.
    pub fn found(&self, vertex: VertexId, record: &Record, cache: Option<&str>) {
        let hit = StepOutcome::Hit {
            key: record.canonical_key.clone(),
            made_seconds: record.created_seconds,
            build_id: record.build_id.clone(),
            cache: cache.map(str::to_owned),
        };
        self.steps().insert(vertex, hit);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(vertex, record.clone());
    }

    /// Returns the record that was found of `vertex`.
    pub fn record(&self, vertex: VertexId) -> Option<Record> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&vertex).cloned()
    }

    /// Notes that nobody needs to look at `vertex`.
    pub fn covered(&self, vertex: VertexId) {
        self.steps().entry(vertex).or_insert(StepOutcome::Covered);
    }

    /// Notes that `vertex` begins to run; its result will be known as `key`.
    pub fn running(&self, vertex: VertexId, key: &Digest, cause: RunCause) {
        let ran = StepOutcome::Ran {
            key: key.clone(),
            cause,
            // Until it is known to be done.
            end: StepEnd::Failed,
            took_milliseconds: 0,
            used: None,
        };
        self.steps().insert(vertex, ran);
    }

    /// Returns the key under which the result of `vertex`, which runs, will be known.
    pub fn key(&self, vertex: VertexId) -> Option<Digest> {
        match self.steps().get(&vertex) {
            Some(StepOutcome::Ran { key, .. }) => Some(key.clone()),
            _ => None,
        }
    }

    /// Notes what the command of `vertex` took.
    pub fn used(&self, vertex: VertexId, usage: StepUsage) {
        if let Some(StepOutcome::Ran { used, .. }) = self.steps().get_mut(&vertex) {
            *used = Some(usage);
        }
    }

    /// Notes how the run of `vertex` ended.
    pub fn ended(&self, vertex: VertexId, how: StepEnd, took: Duration) {
        if let Some(StepOutcome::Ran {
            end,
            took_milliseconds,
            ..
        }) = self.steps().get_mut(&vertex)
        {
            *end = how;
            *took_milliseconds = milliseconds(took);
        }
    }

    /// Keeps the notes in the store. What cannot be kept is only missed later.
    pub fn save(
        &self,
        store: &Store,
        request: &BuildRequest,
        outcome: BuildOutcome,
        scenes: HashMap<VertexId, Scene>,
    ) {
        let context = request.directories.get("context").map(|directory| {
            let path = &directory.path;
            std::fs::canonicalize(path).unwrap_or_else(|_| path.clone())
        });
        let mut locations = request.plan.vertices();
        let location = locations.find_map(|(_, vertex)| vertex.metadata.location.clone());
        let build = BuildRecord {
            id: request.build_id.clone(),
            started_seconds: self.started_seconds,
            took_milliseconds: milliseconds(self.started.elapsed()),
            context: context.map_or(String::new(), |path| path.display().to_string()),
            dockerfile: location.map_or(String::new(), |location| location.file),
            outcome,
            steps: self.step_records(request, scenes),
        };
        let _ = store.builds().put(&build);
    }

    fn step_records(
        &self,
        request: &BuildRequest,
        mut scenes: HashMap<VertexId, Scene>,
    ) -> Vec<StepRecord> {
        let steps = self.steps();
        let needed = needed(request);
        let wanted = request
            .plan
            .vertices()
            .filter(|(id, vertex)| needed[id.index()] && !matches!(vertex.op, Op::Local(_)));
        wanted
            .map(|(id, vertex)| StepRecord {
                name: vertex.metadata.name.clone(),
                line: (vertex.metadata.location.as_ref()).map(|location| location.first_line),
                outcome: steps.get(&id).cloned().unwrap_or(StepOutcome::NotReached),
                scene: scenes.remove(&id),
            })
            .collect()
    }

    fn steps(&self) -> MutexGuard<'_, HashMap<VertexId, StepOutcome>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns which vertices the images are made of.
fn needed(request: &BuildRequest) -> Vec<bool> {
    let mut needed = vec![false; request.plan.len()];
    for target in request.images.iter().filter_map(|image| image.result) {
        needed[target.index()] = true;
    }
    for index in (0..needed.len()).rev() {
        if needed[index] {
            for input in request.plan.inputs(VertexId::from_index(index)) {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns what the content key of `vertex` is made of.
pub(crate) fn recipe(request: &BuildRequest, vertex: VertexId, keys: &Keys) -> Recipe {
    let op = &request.plan.vertex(vertex).op;
    let facts = kiln_plan::facts(op)
        .into_iter()
        .map(|fact| kiln_disk::Fact {
            name: fact.name,
            value: fact.value,
        });
    let uses = op.input_uses();
    let inputs = op.inputs().into_iter().zip(uses).zip(&keys.inputs);
    Recipe {
        facts: facts.collect(),
        inputs: inputs
            .map(|((from, input_use), key)| RecipeInput {
                from: input_name(request, from),
                selected: selected(input_use),
                content: match key {
                    InputKey::Result(key) => InputContent::Result(key.digest().clone()),
                    InputKey::Content(digest) => InputContent::Files(digest.clone()),
                },
            })
            .collect(),
    }
}

fn input_name(request: &BuildRequest, vertex: VertexId) -> String {
    let vertex = request.plan.vertex(vertex);
    match &vertex.op {
        Op::Local(local) if local.name == "context" => "the build context".to_owned(),
        Op::Local(local) => format!("the build context `{}`", local.name),
        _ => vertex.metadata.name.clone(),
    }
}

fn selected(input_use: InputUse) -> Vec<String> {
    let InputUse::Content { selector } = input_use else {
        return Vec::new();
    };
    let excluded = selector.exclude.iter().map(|pattern| format!("!{pattern}"));
    selector.paths.iter().cloned().chain(excluded).collect()
}
