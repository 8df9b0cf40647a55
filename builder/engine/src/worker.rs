//! The worker of one build: answers the solver's requests by store, sandbox and registry.

use crate::builder::Look;
use crate::cache::{Offers, RemoteCache};
use crate::context::Contexts;
use crate::emulation::{self, Emulation};
use crate::history::{self, History};
use crate::op::content::Origin;
use crate::op::empty_layers::EmptyLayers;
use crate::op::step_root::PlainRoots;
use crate::packing::TakeLayers;
use crate::remote::{Fetcher, Remotes};
use crate::scene::Scenes;
use crate::settle::{Entry, Note, Settler};
use crate::step_sandbox::StepSandbox;
use crate::{BuildRequest, Event, Owners, StepChange, StepError, op};
use kiln_disk::{KeyLock, LayerId, Record, RunCause, Store};
use kiln_layer::copy::{SelectedFile, Source};
use kiln_layer::scan::Scan;
use kiln_layer::tree::{Tree, WhiteoutFormat};
use kiln_oci::Digest;
use kiln_plan::{CacheKey, Exec, InputKey, InputUse, Op, Selector, VertexId};
use kiln_sandbox::runspec::emulation::Registration;
use kiln_sandbox::{Cancellation, Sandbox};
use kiln_solver::{Executed, Found, Graph, Keys};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The result of a vertex.
#[derive(Clone, Debug)]
pub(crate) enum Product {
    /// A stack of layers, bottom first.
    Stack(Vec<LayerId>),
    /// A directory of this machine, by its name in the request.
    Directory(String),
}

/// The files of a product.
pub(crate) enum Files {
    /// Those of a stack of layers.
    Result(Tree),
    /// Those of a directory of this machine.
    Directory(Arc<Scan>),
}

impl Files {
    /// Returns them as what is copied from.
    pub fn source(&self) -> Source<'_> {
        match self {
            Files::Result(tree) => tree.into(),
            Files::Directory(scan) => Source::Scan(scan),
        }
    }
}

/// What becomes of commands that nobody has run yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commands {
    /// They are run.
    Run,
    /// They end what is being solved: it is found out whether there are any.
    Refused,
}

/// What every operation of one build works with.
pub(crate) struct BuildWorker<'build> {
    pub request: &'build BuildRequest,
    pub store: &'build Store,
    pub client: &'build kiln_registry::Client,
    pub sandbox: &'build StepSandbox,
    pub whiteouts: WhiteoutFormat,
    pub cancellation: &'build Cancellation,
    pub history: &'build History,
    pub scenes: &'build Scenes,
    pub look: Look,
    /// Whether a file was seen to change: then the plan is solved again, and what runs need
    /// not be stopped.
    pub has_seen_change: AtomicBool,
    pub contexts: Contexts<'build>,
    /// Files that steps read of results, by reader and input: listed when they were digested.
    pub read: Mutex<HashMap<(VertexId, usize), Vec<SelectedFile>>>,
    pub settler: &'build Settler<'build>,
    pub remote: &'build RemoteCache<'build>,
    pub offers: &'build Offers,
    pub packing: &'build dyn TakeLayers,
    /// Remote records that the store shall have once their layers are here.
    pub imported: Mutex<Vec<Entry>>,
    /// The definition keys of all vertices, once all is solved.
    pub definitions: Mutex<Vec<Option<CacheKey>>>,
    /// Locks of steps that were carried out and not yet handed to the settler.
    pub held: Mutex<HashMap<VertexId, KeyLock>>,
    /// Directories that commands ran in, for commands that go on from there.
    pub plain_roots: PlainRoots,
    pub empty_layers: EmptyLayers,
    pub remotes: &'build Remotes,
    pub emulation: &'build Emulation,
    pub commands: Commands,
    pub observer: &'build (dyn Fn(Event) + Sync),
}

impl BuildWorker<'_> {
    /// Tells the observer how `vertex` changed.
    pub fn tell(&self, vertex: VertexId, change: StepChange) {
        (self.observer)(Event::Step { vertex, change });
    }

    /// Returns what commands run in.
    pub fn sandbox(&self) -> Result<&Sandbox, StepError> {
        self.sandbox.get().map_err(StepError::Sandbox)
    }

    /// Returns the emulators that the command `exec` takes along on this machine.
    pub fn emulators(&self, exec: &Exec) -> Result<Vec<Registration>, StepError> {
        let place = emulation::Place {
            store: self.store,
            sandbox: self.sandbox,
            confinement: &self.request.confinement,
            cancellation: self.cancellation,
        };
        self.emulation.emulators(exec, &place)
    }

    /// Returns the directories of `stack`, bottom first; brings those that are not here.
    pub fn paths(&self, stack: &[LayerId]) -> Result<Vec<PathBuf>, StepError> {
        self.bring_images(stack).map_err(|(_, error)| error)?;
        let brought = self.remote.absent().bring(stack);
        brought.map_err(StepError::CacheLayer)?;
        let directories = |layer| self.store.layers().directories(layer);
        Ok(stack.iter().flat_map(directories).collect())
    }

    /// As [`BuildWorker::paths`], without the layers that have nothing in them: for a command,
    /// which does not see the roots of what is below it.
    pub fn paths_with_content(&self, stack: &[LayerId]) -> Result<Vec<PathBuf>, StepError> {
        let mut paths = self.paths(stack)?;
        paths.retain(|path| !self.empty_layers.contains(path));
        Ok(paths)
    }

    /// Brings the layers of `stack` that belong to images and are not here.
    pub fn bring_images(&self, stack: &[LayerId]) -> Result<(), (VertexId, StepError)> {
        for image in self.remote.absent().images(stack) {
            let unpacked = op::image::unpack(self, &image);
            unpacked.map_err(|error| (image.vertex, error))?;
        }
        Ok(())
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
    pub fn files(&self, product: &Product) -> Result<Files, StepError> {
        match product {
            Product::Stack(stack) => Ok(Files::Result(self.tree(stack)?)),
            Product::Directory(name) => self.directory(name).map(Files::Directory),
        }
    }

    /// Returns the files of the result `stack`.
    pub fn tree(&self, stack: &[LayerId]) -> Result<Tree, StepError> {
        Ok(Tree::open(&self.paths(stack)?, self.whiteouts)?)
    }

    /// Returns the scan of the directory called `name` in the request.
    pub fn directory(&self, name: &str) -> Result<Arc<Scan>, StepError> {
        self.contexts.get(name, |text| {
            let is_it = |op: &Op| matches!(op, Op::Local(local) if local.name == name);
            let mut vertices = self.request.plan.vertices();
            if let Some((vertex, _)) = vertices.find(|(_, vertex)| is_it(&vertex.op)) {
                self.tell(vertex, StepChange::Note(text));
            }
        })
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
        self.scenes.runs(vertex, inputs);
        let output = op::execute(self, vertex, self.op(vertex), inputs).inspect_err(|_| {
            self.note(vertex, keys).keep(self.store, key);
        })?;
        self.packing.offer(vertex, &output);
        Ok(Executed { output, canonical })
    }

    /// Does `work` with what `vertex` selects of its input number `input`.
    fn with_selected<T>(
        &self,
        vertex: VertexId,
        input: usize,
        source: Option<&Product>,
        work: impl FnOnce(Source<'_>, &Selector, &Op, Origin) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let op = self.op(vertex);
        let InputUse::Content { selector } = op.reads(input) else {
            return Err(StepError::Unsupported(
                "building upon a directory".to_owned(),
            ));
        };
        let (files, origin) = match (source, self.op(op.inputs()[input])) {
            (Some(product @ Product::Stack(_)), _) => (self.files(product)?, Origin::Result),
            (_, Op::Local(local)) => {
                let scan = self.directory(&local.name)?;
                (Files::Directory(scan), self.origin(&local.name))
            }
            (_, Op::Http(http)) => {
                let fetched = op::http::execute(self, op.inputs()[input], http)?;
                (self.files(&fetched)?, Origin::Result)
            }
            _ => return Err(StepError::Unsupported("reading this input".to_owned())),
        };
        work(files.source(), &selector, op, origin)
    }

    /// Returns a key for the result of a step that runs although a result may be recorded:
    /// readers must not take it for that one.
    fn own_key(&self, vertex: VertexId, keys: &Keys) -> CacheKey {
        let (build, step) = (&self.request.build_id, vertex.index());
        let name = format!("{} again in {build} as {step}", keys.content);
        CacheKey::from_digest(Digest::sha256(name.as_bytes()))
    }

    fn note(&self, vertex: VertexId, keys: &Keys) -> Note {
        Note {
            recipe: history::recipe(self.request, vertex, keys),
            listings: self.listings(vertex, keys),
        }
    }

    /// Returns what `vertex` reads of its inputs, file by file, for those who ask later why it
    /// ran.
    fn listings(&self, vertex: VertexId, keys: &Keys) -> Vec<(Digest, Vec<SelectedFile>)> {
        let mut listings = Vec::new();
        for (number, key) in keys.inputs.iter().enumerate() {
            let InputKey::Content(digest) = key else {
                continue;
            };
            let listed = self.read().remove(&(vertex, number));
            let listed = listed.or_else(|| {
                self.local_input(vertex, number)?;
                let listing = self.with_selected(vertex, number, None, op::content::listing);
                let (found, files) = listing.ok()?;
                (found == *digest).then_some(files)
            });
            listings.extend(listed.map(|files| (digest.clone(), files)));
        }
        listings
    }

    /// Returns the name of the directory that `vertex` has as its input number `input`.
    fn local_input(&self, vertex: VertexId, input: usize) -> Option<&str> {
        match self.op(*self.op(vertex).inputs().get(input)?) {
            Op::Local(local) => Some(&local.name),
            _ => None,
        }
    }

    fn read(&self) -> std::sync::MutexGuard<'_, HashMap<(VertexId, usize), Vec<SelectedFile>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_change(&self, error: &StepError) {
        if error.is_change() {
            self.has_seen_change.store(true, Ordering::Relaxed);
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
                note: None,
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
            note: Some(self.note(vertex, keys)),
            _lock: lock,
        })
    }

    /// Tells of a record of `vertex` that is there and cannot be used.
    fn tell_damage(&self, vertex: VertexId, key: &CacheKey) {
        if self.store.records().is_damaged(key.digest()) {
            let note = format!("the cache record {key} is damaged: it counts as none");
            self.tell(vertex, StepChange::Note(note));
        }
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
            note: None,
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
            None => {
                self.tell_damage(vertex, key);
                self.probe_remote(vertex, key)?
            }
        };
        let found = record.map(|record| Found {
            output: Product::Stack(record.result),
            canonical: CacheKey::from_digest(record.canonical_key),
        });
        if let Some(found) = &found {
            self.scenes.has(vertex, &found.output);
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
        let digest = match self.local_input(vertex, input) {
            Some(_) => self.with_selected(vertex, input, source, op::content::digest),
            None => {
                let listing = self.with_selected(vertex, input, source, op::content::listing);
                listing.map(|(digest, files)| {
                    // Reading it again would take as long as reading it did.
                    self.read().insert((vertex, input), files);
                    digest
                })
            }
        };
        digest.inspect_err(|error| self.note_change(error))
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
        let executed = match (self.op(vertex), keys) {
            (Op::Local(local), _) => Ok(own(Product::Directory(local.name.clone()))),
            (op, None) => op::execute(self, vertex, op, inputs).map(own),
            (_, Some(keys)) => self.execute_once(vertex, keys, inputs),
        };
        executed.inspect_err(|error| self.note_change(error))
    }

    fn remember(
        &self,
        vertex: VertexId,
        keys: &Keys,
        found: &Found<Product>,
    ) -> Result<(), StepError> {
        self.scenes.has(vertex, &found.output);
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
        let is_repeated = self.look == Look::Early && self.has_seen_change.load(Ordering::Relaxed);
        if !is_repeated {
            self.cancellation.cancel();
        }
    }

    fn solved(&self, definitions: &[Option<CacheKey>]) {
        let known = self.definitions.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = definitions.to_vec();
    }
}
