//! The worker of one build: answers the solver's requests by store, sandbox and registry.

use crate::context::ContextIndex;
use crate::op::content::Origin;
use crate::settle::Settler;
use crate::{BuildRequest, Event, StepChange, StepError, op};
use kiln_disk::{KeyLock, LayerId, Store};
use kiln_layer::copy::NoIndex;
use kiln_layer::tree::{Tree, WhiteoutFormat};
use kiln_oci::Digest;
use kiln_plan::{CacheKey, InputUse, Op, VertexId};
use kiln_sandbox::{Cancellation, Sandbox};
use kiln_solver::{Found, Keys};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The result of a vertex.
#[derive(Clone, Debug)]
pub(crate) enum Product {
    /// A stack of layers, bottom first.
    Stack(Vec<LayerId>),
    /// A directory of this machine, by its name in the request.
    Directory(String),
}

/// What every operation of one build works with.
pub(crate) struct BuildWorker<'build> {
    pub request: &'build BuildRequest,
    pub store: &'build Store,
    pub client: &'build kiln_registry::Client,
    pub sandbox: &'build Sandbox,
    pub whiteouts: WhiteoutFormat,
    pub cancellation: &'build Cancellation,
    pub build_id: &'build str,
    pub indexes: BTreeMap<String, ContextIndex>,
    pub settler: &'build Settler<'build>,
    /// Locks of steps that were carried out and not yet handed to the settler.
    pub held: Mutex<HashMap<VertexId, KeyLock>>,
    pub observer: &'build (dyn Fn(Event) + Sync),
}

impl BuildWorker<'_> {
    /// Tells the observer how `vertex` changed.
    pub fn tell(&self, vertex: VertexId, change: StepChange) {
        (self.observer)(Event::Step { vertex, change });
    }

    /// Returns the directories of `stack`, bottom first.
    pub fn paths(&self, stack: &[LayerId]) -> Vec<PathBuf> {
        stack
            .iter()
            .map(|layer| self.store.layers().diff_path(layer))
            .collect()
    }

    /// Returns the files of `product`, to be read.
    pub fn tree(&self, product: &Product) -> Result<Tree, StepError> {
        match product {
            Product::Stack(stack) => Ok(Tree::open(&self.paths(stack), self.whiteouts)?),
            Product::Directory(name) => self.directory_tree(name),
        }
    }

    /// Returns the files of the directory called `name` in the request.
    pub fn directory_tree(&self, name: &str) -> Result<Tree, StepError> {
        let directory = self
            .request
            .directories
            .get(name)
            .ok_or_else(|| StepError::NotGiven {
                what: "build context",
                name: name.to_owned(),
            })?;
        let tree = Tree::host(&directory.path)?.with_ignore(directory.ignore.clone());
        // A store within the context must not be copied into itself.
        Ok(tree.without_directory(self.store.root())?)
    }

    fn op(&self, vertex: VertexId) -> &Op {
        &self.request.plan.vertex(vertex).op
    }

    /// Returns the result of running `vertex`, or of another process that ran it meanwhile.
    fn execute_once(
        &self,
        vertex: VertexId,
        keys: &Keys,
        inputs: &[Product],
    ) -> Result<Product, StepError> {
        let name = format!("step {}", keys.content);
        let mut told = false;
        let lock = self.store.lock_key(&name, |waiting| {
            if !std::mem::replace(&mut told, true) {
                self.tell(
                    vertex,
                    StepChange::Note(waiting_note(waiting.holder_process_id)),
                );
            }
            match self.cancellation.is_cancelled() {
                true => kiln_disk::Patience::GiveUp,
                false => kiln_disk::Patience::Wait,
            }
        })?;
        // Another process may have recorded the step after this one had looked for it, even
        // without having been waited for.
        let is_looked_up = told || !self.request.plan.vertex(vertex).metadata.ignore_cache;
        let made = is_looked_up.then(|| self.store.records().get(keys.content.digest()));
        let product = match made.transpose()?.flatten() {
            Some(record) => Product::Stack(record.result),
            None => op::execute(self, vertex, self.op(vertex), inputs)?,
        };
        // Until the result is recorded: who waits for the lock must find it.
        self.held().insert(vertex, lock);
        Ok(product)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<VertexId, KeyLock>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waiting_note(holder: Option<u32>) -> String {
    match holder {
        Some(process) => format!("waiting for process {process}, which runs the same step"),
        None => "waiting for another process, which runs the same step".to_owned(),
    }
}

impl kiln_solver::Worker for BuildWorker<'_> {
    type Output = Product;
    type Error = StepError;

    fn probe(&self, _: VertexId, key: &CacheKey) -> Result<Option<Found<Product>>, StepError> {
        let record = self.store.records().get(key.digest())?;
        Ok(record.map(|record| Found {
            output: Product::Stack(record.result),
            canonical: CacheKey::from_digest(record.canonical_key),
        }))
    }

    fn digest(
        &self,
        vertex: VertexId,
        input: usize,
        source: Option<&Product>,
    ) -> Result<Digest, StepError> {
        let op = self.op(vertex);
        let InputUse::Content { selector } = op.reads(input) else {
            return Err(StepError::Unsupported(
                "building upon a directory".to_owned(),
            ));
        };
        let input_op = self.op(op.inputs()[input]);
        match (source, input_op) {
            (Some(product @ Product::Stack(_)), _) => op::content::digest(
                &self.tree(product)?,
                &selector,
                op,
                &NoIndex,
                Origin::Result,
            ),
            (_, Op::Local(local)) => {
                let tree = self.directory_tree(&local.name)?;
                match self.indexes.get(&local.name) {
                    Some(index) => {
                        op::content::digest(&tree, &selector, op, index, Origin::Directory)
                    }
                    None => op::content::digest(&tree, &selector, op, &NoIndex, Origin::Directory),
                }
            }
            (_, other) => Err(op::unsupported(other)),
        }
    }

    fn execute(
        &self,
        vertex: VertexId,
        keys: Option<&Keys>,
        inputs: &[Product],
    ) -> Result<Product, StepError> {
        match (self.op(vertex), keys) {
            (Op::Local(local), _) => Ok(Product::Directory(local.name.clone())),
            (op, None) => op::execute(self, vertex, op, inputs),
            (_, Some(keys)) => self.execute_once(vertex, keys, inputs),
        }
    }

    fn remember(&self, vertex: VertexId, keys: &Keys, output: &Product) -> Result<(), StepError> {
        let lock = self.held().remove(&vertex);
        if let Product::Stack(stack) = output {
            let description = &self.request.plan.vertex(vertex).metadata.name;
            self.settler.remember(keys, stack, description, lock);
        }
        Ok(())
    }

    fn cancel(&self) {
        self.cancellation.cancel();
    }
}
