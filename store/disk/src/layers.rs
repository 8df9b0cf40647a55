//! Layers as directories, and what is known about them.
//!
//! A committed layer is one directory in overlayfs' upper-directory format, read-only by
//! convention, or such a directory *upon* that of another layer: then what both show together is
//! the layer. The name of the directory says upon which, so that one is never taken for the
//! whole. Layers have no parents: a result is a *stack*, bottom layer first. A layer
//! counts only once a chain or a record names it, and those are written after
//! [`Store::sync`]; one that nothing names may be half on disk after a power cut.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{ChainId, DiffId, Digest};
use rustix::fs::{FlockOperation, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::images::list_files;
use crate::lock::{self, Lock};
use crate::session::{self, Session};
use crate::usage::{self, DiskUsage};
use crate::{LayerId, Store, durable};

/// What is known about a committed layer beyond its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// The digest of the layer's uncompressed archive.
    pub diff_id: DiffId,
    /// The size of that archive.
    pub uncompressed_size: u64,
    /// Where the layer is from.
    pub origin: LayerOrigin,
    /// When the layer was made, in seconds since 1970: its time in the history of images.
    #[serde(default)]
    pub created_seconds: i64,
}

/// Where a layer is from: whether its archive can be made again, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerOrigin {
    /// Built: the diff ID is that of the canonical capture.
    Captured {
        /// The latest modification time that the capture let through.
        clamp_mtime_seconds: Option<i64>,
    },
    /// Unpacked from an archive that somebody else made, in whatever form.
    Unpacked {
        /// The digest of the canonical capture right after unpacking, if somebody took it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capture_digest: Option<Digest>,
        /// The layer below it, if there is one: what the archive means may depend on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<LayerId>,
    },
}

impl LayerOrigin {
    /// Returns the origin of a layer that was unpacked over `lowers`, bottom first.
    pub fn unpacked(lowers: &[LayerId]) -> Self {
        Self::Unpacked {
            capture_digest: None,
            parent: lowers.last().cloned(),
        }
    }
}

/// The directory of a layer that is whole in itself.
const WHOLE: &str = "diff";

/// How the name of the directory begins that is a layer upon another one, whose name follows.
const UPON: &str = "upon-";

/// The empty file beside a layer that shares files with others.
const SHARED: &str = "shared";

/// The layers of a store.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'store> {
    store: &'store Store,
}

impl<'store> Layers<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Begins an empty layer.
    pub fn begin(&self) -> Result<ActiveLayer> {
        let session = self.store.session()?;
        let directory = session.fresh_path();
        let store = self.store.clone();
        // Made first, so that whatever fails from here on is cleaned up.
        let layer = ActiveLayer {
            store,
            directory,
            removal: Removal::Now,
            session,
        };
        for path in [layer.directory.clone(), layer.upper(), layer.work()] {
            session::make_directory(&path)?;
        }
        // The upper directory is the root directory that processes in the layer see.
        let upper = layer.upper();
        std::fs::set_permissions(&upper, Permissions::from_mode(0o755)).at("open up", &upper)?;
        Ok(layer)
    }

    /// Returns the directory of a layer that is whole in itself, whether it is there or not.
    pub fn diff_path(&self, id: &LayerId) -> PathBuf {
        self.folder(id).join(WHOLE)
    }

    /// Returns the directories whose union is the layer, bottom first, whether they are there or
    /// not.
    pub fn directories(&self, id: &LayerId) -> Vec<PathBuf> {
        match self.base(id) {
            Some(base) => vec![self.diff_path(&base), self.upon_path(id, &base)],
            None => vec![self.diff_path(id)],
        }
    }

    /// Returns the layer that this one lies upon; none if it is whole in itself, or not there.
    pub fn base(&self, id: &LayerId) -> Option<LayerId> {
        if self.diff_path(id).is_dir() {
            return None;
        }
        let mut entries = std::fs::read_dir(self.folder(id)).ok()?;
        entries.find_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix(UPON)?.parse().ok()
        })
    }

    /// Returns the layers of `stack` with those that they lie upon, each right before the one that
    /// needs it.
    pub fn with_bases(&self, stack: &[LayerId]) -> Vec<LayerId> {
        let both = |id: &LayerId| self.base(id).into_iter().chain([id.clone()]);
        stack.iter().flat_map(both).collect()
    }

    /// Whether the layer is there, with all that it lies upon.
    pub fn exists(&self, id: &LayerId) -> bool {
        let is_whole = |id: &LayerId| self.diff_path(id).is_dir();
        is_whole(id) || self.base(id).is_some_and(|base| is_whole(&base))
    }

    /// Takes a lease of the layer and of what it lies upon: nobody removes it while this store is
    /// open. Returns whether the layer is there.
    pub fn lease(&self, id: &LayerId) -> Result<bool> {
        for layer in self.with_bases(std::slice::from_ref(id)).iter().rev() {
            if !self.store.leases().take(&self.folder(layer))? {
                return Ok(false);
            }
        }
        Ok(self.exists(id))
    }

    /// Returns what is known about the layer; `None` if nobody has needed it yet.
    pub fn facts(&self, id: &LayerId) -> Result<Option<LayerFacts>> {
        durable::read_json_or_forget(&self.facts_path(id))
    }

    /// Remembers what is known about the layer.
    ///
    /// Errors: [`Error::LayerMissing`].
    pub fn set_facts(&self, id: &LayerId, facts: &LayerFacts) -> Result<()> {
        match self.exists(id) {
            true => {
                durable::write_json_lazily(self.store.temporary()?, &self.facts_path(id), facts)
            }
            false => Err(Error::LayerMissing(id.clone())),
        }
    }

    /// Returns what is known about the layer's archive with times up to `clamp_mtime_seconds`,
    /// where that is another one than [`Layers::facts`] tells of.
    pub fn clamped_facts(
        &self,
        id: &LayerId,
        clamp_mtime_seconds: Option<i64>,
    ) -> Result<Option<LayerFacts>> {
        durable::read_json_or_forget(&self.clamped_path(id, clamp_mtime_seconds))
    }

    /// Remembers what is known about another archive of the layer.
    ///
    /// Errors: [`Error::LayerMissing`].
    pub fn set_clamped_facts(
        &self,
        id: &LayerId,
        clamp_mtime_seconds: Option<i64>,
        facts: &LayerFacts,
    ) -> Result<()> {
        let path = self.clamped_path(id, clamp_mtime_seconds);
        match self.exists(id) {
            true => durable::write_json_lazily(self.store.temporary()?, &path, facts),
            false => Err(Error::LayerMissing(id.clone())),
        }
    }

    /// Returns all that is known about archives of the layer.
    pub fn all_facts(&self, id: &LayerId) -> Result<Vec<LayerFacts>> {
        let folder = self.folder(id);
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder).at("read directory", &folder)? {
            let path = entry.at("read directory", &folder)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                all.extend(durable::read_json_or_forget::<LayerFacts>(&path)?);
            }
        }
        Ok(all)
    }

    /// Returns the layers that are there, in order of their names.
    pub fn list(&self) -> Result<Vec<LayerId>> {
        let folder = self.store.path("layers");
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&folder).at("read directory", &folder)? {
            let name = entry.at("read directory", &folder)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        ids.retain(|id| self.exists(id));
        ids.sort();
        Ok(ids)
    }

    /// Remembers that the layer has files that other layers have too: what it takes is then
    /// counted anew each time.
    ///
    /// Errors: the folder of the layer is missing or cannot be written.
    pub fn note_shared_files(&self, id: &LayerId) -> Result<()> {
        let path = self.folder(id).join(SHARED);
        File::create(&path).map(drop).at("create", &path)
    }

    /// Whether that was noted of the layer.
    pub(crate) fn shares_files(&self, id: &LayerId) -> bool {
        self.folder(id).join(SHARED).exists()
    }

    pub(crate) fn folder(&self, id: &LayerId) -> PathBuf {
        self.store.path("layers").join(id.as_str())
    }

    fn upon_path(&self, id: &LayerId, base: &LayerId) -> PathBuf {
        self.folder(id).join(format!("{UPON}{base}"))
    }

    fn clamped_path(&self, id: &LayerId, clamp_mtime_seconds: Option<i64>) -> PathBuf {
        let clamp = clamp_mtime_seconds.map_or("none".to_owned(), |clamp| clamp.to_string());
        self.folder(id).join(format!("layer-clamped-{clamp}.json"))
    }

    pub(crate) fn facts_path(&self, id: &LayerId) -> PathBuf {
        self.folder(id).join("layer.json")
    }
}

/// A layer being written, with what overlayfs needs; dropped uncommitted it is removed.
///
/// It lies in the session of its store, whose lock is held as long as the layer lives.
#[derive(Debug)]
pub struct ActiveLayer {
    store: Store,
    directory: PathBuf,
    removal: Removal,
    session: Arc<Session>,
}

/// When what is left of an active layer is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    Now,
    Later,
}

impl ActiveLayer {
    /// Returns the directory that takes the layer's content.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// Returns the empty directory that overlayfs wants beside it.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// Returns the directory that is the layer's alone until it is committed or dropped.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Commits the content as layer `id` and returns the name it got.
    ///
    /// Nothing may be mounted on it any more. If a layer named `id` is there and a chain
    /// names it, that one stays and this is discarded. If no chain names it, it may be the
    /// remainder of a power cut: then this is committed under a random name, which is
    /// returned. The commit is durable only after [`Store::sync`]; until this store is closed
    /// the layer is leased.
    pub fn commit(self, id: LayerId) -> Result<LayerId> {
        self.commit_as(id)
    }

    /// Commits as [`ActiveLayer::commit`] does what was mounted. The empty directories that overlayfs
    /// left stay until [`Store::remove_discarded`], or until this store is closed: what builds on the
    /// layer need not wait for their removal, which may last while others write to the disk.
    pub fn commit_mounted(mut self, id: LayerId) -> Result<LayerId> {
        let id = self.commit_as(id)?;
        if !self.upper().exists() {
            self.removal = Removal::Later;
        }
        Ok(id)
    }

    /// Commits the content, upon that of `base`, as a new layer and returns its name: a name that
    /// the content has or hides is no longer what it is in `base`. Else as [`ActiveLayer::commit`].
    ///
    /// Errors: [`Error::LayerMissing`] if `base` is not there, or lies upon another layer itself.
    pub fn commit_upon(self, base: &LayerId) -> Result<LayerId> {
        let layers = self.store.layers();
        if !layers.lease(base)? || layers.base(base).is_some() {
            return Err(Error::LayerMissing(base.clone()));
        }
        let id = LayerId::random();
        self.rename_to(&id, &layers.upon_path(&id, base))?;
        Ok(id)
    }

    fn commit_as(&self, id: LayerId) -> Result<LayerId> {
        if self.become_whole(&id)? {
            return Ok(id);
        }
        if self.store.chains().names(&id)? {
            return Ok(id);
        }
        let id = LayerId::random();
        self.become_whole(&id)?;
        Ok(id)
    }

    fn become_whole(&self, id: &LayerId) -> Result<bool> {
        self.rename_to(id, &self.store.layers().diff_path(id))
    }

    /// Whether the upper directory could become `target` in the folder of layer `id`; `false` if
    /// that is there.
    fn rename_to(&self, id: &LayerId, target: &Path) -> Result<bool> {
        self.make_folder(&self.store.layers().folder(id))?;
        let here = rustix::fs::CWD;
        match rustix::fs::renameat_with(here, self.upper(), here, target, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error).at("commit layer", target),
        }
    }
}

impl ActiveLayer {
    /// Makes the folder of a layer, leased before there is anything in it.
    fn make_folder(&self, folder: &Path) -> Result<()> {
        loop {
            crate::store::make_directories_to(folder)?;
            if self.store.leases().take(folder)? {
                return Ok(());
            }
        }
    }
}

impl Drop for ActiveLayer {
    fn drop(&mut self) {
        // What resists is removed with the session, or by the next one who opens the store.
        match self.removal {
            Removal::Now => drop(session::remove_tree(&self.directory)),
            Removal::Later => self.session.discard(std::mem::take(&mut self.directory)),
        }
    }
}

/// The layers of pulled images: chain ID → the layer that ends the chain.
#[derive(Debug, Clone, Copy)]
pub struct Chains<'store> {
    store: &'store Store,
}

/// What the file of a chain says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) layer: LayerId,
}

impl<'store> Chains<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Returns the layer that ends the chain, leased, if it is there.
    pub fn get(&self, chain_id: &ChainId) -> Result<Option<LayerId>> {
        let Some(layer) = self.find(chain_id)? else {
            return Ok(None);
        };
        let is_there = self.store.layers().lease(&layer)?;
        Ok(is_there.then_some(layer))
    }

    /// Returns the layer that is said to end the chain.
    pub(crate) fn find(&self, chain_id: &ChainId) -> Result<Option<LayerId>> {
        let path = self.path(&LayerId::of_chain(chain_id));
        let chain = durable::read_json_or_forget::<Chain>(&path)?;
        Ok(chain.map(|chain| chain.layer))
    }

    /// Remembers that `layer`, checked and on disk ([`Store::sync`]), ends the chain.
    pub fn set(&self, chain_id: &ChainId, layer: &LayerId) -> Result<()> {
        let _guard = self.guard(FlockOperation::LockShared)?;
        let path = self.path(&LayerId::of_chain(chain_id));
        let chain = Chain {
            layer: layer.clone(),
        };
        durable::write_json_lazily(self.store.temporary()?, &path, &chain)
    }

    /// Removes the chains of layers that are gone. One that stays would only count as none.
    pub(crate) fn forget_missing(&self) -> Result<DiskUsage> {
        let _guard = self.guard(FlockOperation::LockExclusive)?;
        let mut freed = DiskUsage::default();
        for path in list_files(&self.store.path("chains"))? {
            let chain = durable::read_json_or_forget::<Chain>(&path)?;
            let is_there = |layer: &LayerId| self.store.layers().exists(layer);
            if !chain.is_some_and(|chain| is_there(&chain.layer)) {
                freed += usage::freed_by_removal(&path)?;
                session::remove_tree(&path)?;
            }
        }
        Ok(freed)
    }

    /// Nobody forgets a chain that is just being set anew.
    fn guard(&self, operation: FlockOperation) -> Result<Lock> {
        let folder = self.store.path("chains");
        let file = File::open(&folder).at("open", &folder)?;
        lock::wait(file, &folder, operation)
    }

    /// Whether the chain that the layer `id` would be named after leads to it.
    fn names(&self, id: &LayerId) -> Result<bool> {
        let chain = durable::read_json_or_forget::<Chain>(&self.path(id))?;
        Ok(chain.is_some_and(|chain| chain.layer == *id))
    }

    fn path(&self, id: &LayerId) -> PathBuf {
        self.store.path("chains").join(id.as_str())
    }
}
