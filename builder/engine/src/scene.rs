//! What it takes to enter a step again, noted while a build runs.
//!
//! The files of a step that was not looked at, because a later result was there, are those of the
//! later one without its last layer: a command and a copy add one each.

use crate::worker::Product;
use crate::{BuildRequest, StepError};
use kiln_disk::{LayerId, Record, Scene, SceneInput, Store};
use kiln_oci::Digest;
use kiln_plan::{CacheKey, Exec, Op, Plan, PlanBuilder, VertexId, VertexMetadata};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The files that steps of one build had and left.
#[derive(Default)]
pub(crate) struct Scenes {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    inputs: HashMap<VertexId, Vec<Product>>,
    results: HashMap<VertexId, Vec<LayerId>>,
    /// What commands that failed left.
    failed: HashMap<VertexId, Vec<LayerId>>,
}

impl Scenes {
    /// Notes the inputs of a step that runs.
    pub fn runs(&self, vertex: VertexId, inputs: &[Product]) {
        self.known().inputs.insert(vertex, inputs.to_vec());
    }

    /// Notes the result of a step.
    pub fn has(&self, vertex: VertexId, result: &Product) {
        if let Product::Stack(stack) = result {
            self.known().results.insert(vertex, stack.clone());
        }
    }

    /// Notes the files that a failed command left.
    pub fn failed(&self, vertex: VertexId, left: Vec<LayerId>) {
        self.known().failed.insert(vertex, left);
    }

    /// Returns the scene of each command of the build.
    pub fn all(
        &self,
        request: &BuildRequest,
        store: &Store,
        definitions: &[Option<CacheKey>],
    ) -> HashMap<VertexId, Scene> {
        let known = self.known();
        let plan = &request.plan;
        let results = with_covered(plan, known.results.clone());
        let recorded = |vertex: VertexId| {
            let definition = definitions.get(vertex.index())?.as_ref()?;
            let record = store.records().get(definition.digest()).ok()??;
            Some(record.result)
        };
        let input = |vertex: VertexId| match &plan.vertex(vertex).op {
            Op::Local(local) => match request.directories.get(&local.name) {
                Some(directory) => SceneInput::Directory(directory.path.clone()),
                None => SceneInput::Unknown,
            },
            _ => {
                let found = results.get(&vertex).cloned().or_else(|| recorded(vertex));
                found.map_or(SceneInput::Unknown, SceneInput::Layers)
            }
        };
        let mut scenes = HashMap::new();
        for (vertex, described) in plan.vertices() {
            let Op::Exec(exec) = &described.op else {
                continue;
            };
            let seen = known.inputs.get(&vertex).into_iter().flatten();
            let inputs = described.op.inputs().into_iter().map(&input);
            // What a step was given counts more than what is found out about it.
            let mut inputs: Vec<SceneInput> = inputs.collect();
            for (input, product) in inputs.iter_mut().zip(seen) {
                if let Product::Stack(stack) = product {
                    *input = SceneInput::Layers(stack.clone());
                }
            }
            let after = known.failed.get(&vertex).or_else(|| results.get(&vertex));
            let command = serde_json::to_value(without_secrets(exec)).unwrap_or_default();
            let scene = Scene {
                command,
                inputs,
                after: after.cloned(),
            };
            scenes.insert(vertex, scene);
        }
        scenes
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses of proxies may have passwords in them.
fn without_secrets(exec: &Exec) -> Exec {
    Exec {
        proxy_environment: Vec::new(),
        ..exec.clone()
    }
}

/// Adds the results of steps that nobody looked at, as far as those above them tell.
fn with_covered(
    plan: &Plan,
    mut results: HashMap<VertexId, Vec<LayerId>>,
) -> HashMap<VertexId, Vec<LayerId>> {
    for index in (0..plan.len()).rev() {
        let vertex = VertexId::from_index(index);
        let base = match &plan.vertex(vertex).op {
            Op::Exec(exec) => exec.root,
            Op::File(file) => file.base,
            _ => None,
        };
        let below = results.get(&vertex).and_then(|stack| {
            let (_, below) = stack.split_last()?;
            Some(below.to_vec())
        });
        if let (Some(base), Some(below)) = (base, below) {
            results.entry(base).or_insert(below);
        }
    }
    results
}

/// A command of an earlier build that can be run again.
pub(crate) struct Staged {
    /// A plan with the command and stand-ins for its inputs.
    pub plan: Plan,
    /// The command.
    pub vertex: VertexId,
    /// The results of its inputs.
    pub inputs: Vec<Product>,
    /// Directories of this machine that it reads, by their names in the plan.
    pub directories: Vec<(String, std::path::PathBuf)>,
}

/// Returns the command of `scene`, ready to be run. Mounts whose files are not known are left
/// out.
///
/// Errors: the scene is damaged, or what the command was based on is not known.
pub(crate) fn staged(scene: &Scene, name: &str) -> Result<Staged, StepError> {
    let unknown = |what: &str| StepError::Scene(what.to_owned());
    let exec: Exec = serde_json::from_value(scene.command.clone())
        .map_err(|error| unknown(&error.to_string()))?;
    let count = Op::Exec(exec.clone()).inputs().len();
    let has_root = exec.root.is_some();
    if scene.inputs.len() != count {
        return Err(unknown("its record is damaged"));
    }
    let mut plan = PlanBuilder::new();
    let (mut places, mut inputs, mut directories) = (Vec::new(), Vec::new(), Vec::new());
    for (number, input) in scene.inputs.iter().enumerate() {
        let place = match input {
            SceneInput::Unknown if number == 0 && has_root => {
                return Err(unknown("nobody knows the files that it started from"));
            }
            SceneInput::Unknown => None,
            SceneInput::Layers(stack) => Some(Product::Stack(stack.clone())),
            SceneInput::Directory(path) => {
                directories.push((number.to_string(), path.clone()));
                Some(Product::Directory(number.to_string()))
            }
        };
        places.push(
            place
                .is_some()
                .then(|| plan.add(stand_in(number), VertexMetadata::default())),
        );
        inputs.extend(place);
    }
    let metadata = VertexMetadata {
        name: name.to_owned(),
        ..VertexMetadata::default()
    };
    let vertex = plan.add(Op::Exec(exec.on_inputs(&places)), metadata);
    Ok(Staged {
        plan: plan.finish(),
        vertex,
        inputs,
        directories,
    })
}

fn stand_in(number: usize) -> Op {
    Op::Local(kiln_plan::LocalSource {
        name: number.to_string(),
    })
}

/// Keeps what a failed command left, for those who want to look at it: in the cache, where the
/// next failure of the same step takes its place, and space is made of it like of the rest.
pub(crate) fn keep(
    store: &Store,
    key: &Digest,
    left: &[LayerId],
    description: &str,
    build_id: &str,
) -> Result<(), kiln_disk::Error> {
    store.sync()?;
    let key = Digest::sha256(format!("failed {key}").as_bytes());
    let record = Record {
        result: left.to_vec(),
        canonical_key: key.clone(),
        created_seconds: jiff::Timestamp::now().as_second(),
        description: format!("files of the failed step {description}"),
        build_id: build_id.to_owned(),
    };
    store.records().put(&key, &record)
}
