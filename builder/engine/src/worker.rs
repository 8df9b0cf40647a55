//! The worker of one build: answers the solver's requests by store, sandbox and registry.

use crate::cache::{Offers, RemoteCache};
use crate::context::ContextIndex;
use crate::explain::{ListedFile, Listing};
use crate::history::{self, History};
use crate::op::content::Origin;
use crate::remote::{Fetcher, Remotes};
use crate::settle::{Entry, Settler};
use crate::{BuildRequest, ContextModes, Event, Owners, StepChange, StepError, op};
use kiln_disk::{KeyLock, LayerId, Record, RunCause, Store};
use kiln_layer::copy::{ContentIndex, NoIndex, SelectedFile};
use kiln_layer::tree::{Tree, WhiteoutFormat};
use kiln_oci::Digest;
use kiln_plan::{CacheKey, InputKey, InputUse, Op, VertexId};
use kiln_sandbox::{Cancellation, Sandbox};
use kiln_solver::{Executed, Found, Graph, Keys};
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
    pub history: &'build History,
    pub indexes: BTreeMap<String, ContextIndex>,
    pub settler: &'build Settler<'build>,
    pub remote: &'build RemoteCache<'build>,
    pub offers: &'build Offers,
    /// Remote records that the store shall have once their layers are here.
    pub imported: Mutex<Vec<Entry>>,
    /// The definition keys of all vertices, once all is solved.
    pub definitions: Mutex<Vec<Option<CacheKey>>>,
    /// Locks of steps that were carried out and not yet handed to the settler.
    pub held: Mutex<HashMap<VertexId, KeyLock>>,
    pub remotes: &'build Remotes,
    pub observer: &'build (dyn Fn(Event) + Sync),
}

impl BuildWorker<'_> {
    /// Tells the observer how `vertex` changed.
    pub fn tell(&self, vertex: VertexId, change: StepChange) {
        (self.observer)(Event::Step { vertex, change });
    }

    /// Returns the directories of `stack`, bottom first; brings those that are not here.
    pub fn paths(&self, stack: &[LayerId]) -> Result<Vec<PathBuf>, StepError> {
        let brought = self.remote.absent().bring(stack);
        brought.map_err(StepError::CacheLayer)?;
        let layers = self.store.layers();
        Ok(stack.iter().map(|layer| layers.diff_path(layer)).collect())
    }

    /// Returns who fetches for `vertex`.
    pub fn fetcher(&self, vertex: VertexId) -> Fetcher<'_> {
        Fetcher {
            request: self.request,
            store: self.store,
            client: self.client,
            remotes: self.remotes,
            cancellation: self.cancellation,
            observer: self.observer,
            vertex,
        }
    }

    /// Returns the files of `product`, to be read.
    pub fn tree(&self, product: &Product) -> Result<Tree, StepError> {
        match product {
            Product::Stack(stack) => Ok(Tree::open(&self.paths(stack)?, self.whiteouts)?),
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
        let mut tree = Tree::host(&directory.path)?.with_ignore(directory.ignore.clone());
        if directory.modes == ContextModes::Normalized {
            tree = tree.with_normalized_modes();
        }
        // A store within the context must not be copied into itself.
        Ok(tree.without_directory(self.store.root())?)
    }

    /// Returns who owns files copied from `source` unless told otherwise; `None` for whoever
    /// owns them there.
    pub fn default_owner(&self, source: &Product) -> Option<(u32, u32)> {
        match source {
            Product::Directory(name) if self.origin(name) == Origin::Directory => Some((0, 0)),
            _ => None,
        }
    }

    /// Returns whose the files of the directory called `name` are.
    fn origin(&self, name: &str) -> Origin {
        let directory = self.request.directories.get(name);
        match directory.map(|directory| directory.owners) {
            Some(Owners::Kept) => Origin::Result,
            Some(Owners::Root) | None => Origin::Directory,
        }
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
    ) -> Result<Executed<Product>, StepError> {
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
        // Until the result is recorded: who waits for the lock must find it.
        self.held().insert(vertex, lock);
        // Another process may have recorded the step after this one had looked for it, even
        // without having been waited for.
        let is_asked = self.request.plan.ignores_cache(vertex);
        let made = (told || !is_asked).then(|| self.store.records().get(keys.content.digest()));
        if let Some(record) = made.transpose()?.flatten() {
            self.history.found(vertex, &record, None);
            return Ok(Executed {
                output: Product::Stack(record.result),
                canonical: Some(CacheKey::from_digest(record.canonical_key)),
            });
        }
        let canonical = is_asked.then(|| self.own_key(vertex, keys));
        let key = canonical.as_ref().unwrap_or(&keys.content).digest();
        let cause = if is_asked {
            RunCause::Asked
        } else {
            RunCause::Missing
        };
        self.history.running(vertex, key, cause);
        self.keep_listings(vertex, keys, inputs);
        let output = op::execute(self, vertex, self.op(vertex), inputs).inspect_err(|_| {
            let recipe = history::recipe(self.request, vertex, keys);
            let _ = self.store.recipes().put(key, &recipe);
        })?;
        Ok(Executed { output, canonical })
    }

    /// Returns the digest of what `vertex` selects of its input number `input`, with the files.
    fn selected(
        &self,
        vertex: VertexId,
        input: usize,
        source: Option<&Product>,
    ) -> Result<(Digest, Vec<SelectedFile>), StepError> {
        let op = self.op(vertex);
        let InputUse::Content { selector } = op.reads(input) else {
            return Err(StepError::Unsupported(
                "building upon a directory".to_owned(),
            ));
        };
        let no_index: &dyn ContentIndex = &NoIndex;
        match (source, self.op(op.inputs()[input])) {
            (Some(product @ Product::Stack(_)), _) => {
                let tree = self.tree(product)?;
                op::content::listing(&tree, &selector, op, no_index, Origin::Result)
            }
            (_, Op::Local(local)) => {
                let tree = self.directory_tree(&local.name)?;
                let index = self.indexes.get(&local.name);
                let index = index.map_or(no_index, |index| index);
                op::content::listing(&tree, &selector, op, index, self.origin(&local.name))
            }
            (_, Op::Http(http)) => {
                let tree = self.tree(&op::http::execute(self, op.inputs()[input], http)?)?;
                op::content::listing(&tree, &selector, op, no_index, Origin::Result)
            }
            _ => Err(StepError::Unsupported("reading this input".to_owned())),
        }
    }

    /// Returns a key for the result of a step that runs although a result may be recorded:
    /// readers must not take it for that one.
    fn own_key(&self, vertex: VertexId, keys: &Keys) -> CacheKey {
        let (build, step) = (&self.request.build_id, vertex.index());
        let name = format!("{} again in {build} as {step}", keys.content);
        CacheKey::from_digest(Digest::sha256(name.as_bytes()))
    }

    /// Keeps what `vertex` reads of its inputs, file by file, for those who ask later why it
    /// ran. Nothing but that is lost if it fails.
    fn keep_listings(&self, vertex: VertexId, keys: &Keys, inputs: &[Product]) {
        for (number, (input, key)) in inputs.iter().zip(&keys.inputs).enumerate() {
            let InputKey::Content(digest) = key else {
                continue;
            };
            if self.store.recipes().has_listing(digest) {
                continue;
            }
            let Ok((listed, files)) = self.selected(vertex, number, Some(input)) else {
                continue;
            };
            if let Some(bytes) = (listed == *digest).then(|| listing_bytes(files)).flatten() {
                let _ = self.store.recipes().put_listing(digest, &bytes);
            }
        }
    }

    /// Returns the record of a new result, and of one that was found.
    fn entry(&self, vertex: VertexId, keys: &Keys, found: &Found<Product>) -> Option<Entry> {
        let lock = self.held().remove(&vertex);
        let Product::Stack(stack) = &found.output else {
            return None;
        };
        if let Some(record) = self.history.record(vertex) {
            return Some(Entry {
                keys: vec![keys.definition.digest().clone()],
                record,
                recipe: None,
                _lock: lock,
            });
        }
        let mut names = vec![keys.content.digest().clone()];
        if keys.definition != keys.content {
            names.push(keys.definition.digest().clone());
        }
        Some(Entry {
            keys: names,
            record: Record {
                result: stack.clone(),
                canonical_key: found.canonical.digest().clone(),
                created_seconds: jiff::Timestamp::now().as_second(),
                description: self.request.plan.vertex(vertex).metadata.name.clone(),
                build_id: self.request.build_id.clone(),
            },
            recipe: Some(history::recipe(self.request, vertex, keys)),
            _lock: lock,
        })
    }

    /// Looks for `vertex` in the remote caches.
    fn probe_remote(&self, vertex: VertexId, key: &CacheKey) -> Result<Option<Record>, StepError> {
        let Some(found) = self.remote.find(key.digest())? else {
            return Ok(None);
        };
        let record = Record {
            result: found.stack,
            canonical_key: found.canonical_key,
            created_seconds: found.created_seconds,
            description: self.request.plan.vertex(vertex).metadata.name.clone(),
            build_id: String::new(),
        };
        self.history.found(vertex, &record, Some(&found.origin));
        self.imported().push(Entry {
            keys: vec![key.digest().clone(), record.canonical_key.clone()],
            record: record.clone(),
            recipe: None,
            _lock: None,
        });
        Ok(Some(record))
    }

    /// Records what was found remotely, as far as its layers are here by now.
    pub fn record_imported(&self) -> Result<(), kiln_disk::Error> {
        let imported = std::mem::take(&mut *self.imported());
        let is_here = |entry: &Entry| self.remote.absent().are_here(&entry.record.result);
        let here: Vec<Entry> = imported.into_iter().filter(is_here).collect();
        match here.is_empty() {
            true => Ok(()),
            false => self.settler.settle(&here),
        }
    }

    fn imported(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.imported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<VertexId, KeyLock>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listing_bytes(files: Vec<SelectedFile>) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let files = files.into_iter().map(|file| ListedFile {
        path: file.name.into_os_string().into_vec(),
        kind: u8::try_from(file.kind).unwrap_or(b'?'),
        mode: file.mode,
        owner: file.owner,
        content: file.content,
    });
    Listing(files.collect()).encode()
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

    fn probe(&self, vertex: VertexId, key: &CacheKey) -> Result<Option<Found<Product>>, StepError> {
        let record = match self.store.records().get(key.digest())? {
            Some(record) => {
                self.history.found(vertex, &record, None);
                Some(record)
            }
            None => self.probe_remote(vertex, key)?,
        };
        let found = record.map(|record| Found {
            output: Product::Stack(record.result),
            canonical: CacheKey::from_digest(record.canonical_key),
        });
        if let Some(found) = &found {
            self.offers.offer(vertex, &found.output);
        }
        Ok(found)
    }

    fn digest(
        &self,
        vertex: VertexId,
        input: usize,
        source: Option<&Product>,
    ) -> Result<Digest, StepError> {
        self.selected(vertex, input, source)
            .map(|(digest, _)| digest)
    }

    fn execute(
        &self,
        vertex: VertexId,
        keys: Option<&Keys>,
        inputs: &[Product],
    ) -> Result<Executed<Product>, StepError> {
        let own = |output| Executed {
            output,
            canonical: None,
        };
        match (self.op(vertex), keys) {
            (Op::Local(local), _) => Ok(own(Product::Directory(local.name.clone()))),
            (op, None) => op::execute(self, vertex, op, inputs).map(own),
            (_, Some(keys)) => self.execute_once(vertex, keys, inputs),
        }
    }

    fn remember(
        &self,
        vertex: VertexId,
        keys: &Keys,
        found: &Found<Product>,
    ) -> Result<(), StepError> {
        self.offers.offer(vertex, &found.output);
        let Some(entry) = self.entry(vertex, keys, found) else {
            return Ok(());
        };
        match self.remote.absent().are_here(&entry.record.result) {
            true => self.settler.remember(entry),
            false => self.imported().push(entry),
        }
        Ok(())
    }

    fn cancel(&self) {
        self.cancellation.cancel();
    }

    fn solved(&self, definitions: &[Option<CacheKey>]) {
        let known = self.definitions.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = definitions.to_vec();
    }
}
