//! The store as a whole: opening it, and what it hands out.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_layer::tree::WhiteoutFormat;
use kiln_oci::Digest;
use rustix::fs::FlockOperation;

use crate::error::{At, Error, Result};
use crate::layer_format;
use crate::lease::Leases;
use crate::lock::{self, KeyLock, Lock, Patience, Waiting};
use crate::session::{self, Session, Temporary};
use crate::version::{self, Presence};
use crate::{
    Blobs, Builds, CacheMounts, Chains, Compressed, Images, LayerLimits, Layers, Logs, Recipes,
    Records,
};

/// The directories of a store, below its root.
const DIRECTORIES: [&str; 14] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "layers",
    "chains",
    "active",
    "partial",
    "records",
    "images",
    "compressed",
    "logs",
    "locks",
    "cache-mounts",
    "turns",
];

/// A store that is open; clones share it.
///
/// Many processes and threads may have one root open at once. What a process leaves
/// unfinished when it dies is removed by the next that opens the store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    format: WhiteoutFormat,
    /// Made by the first write: most commands of a warm store only read.
    session: Mutex<Option<Arc<Session>>>,
    /// What this process uses: nobody removes it.
    leases: Leases,
    warnings: Mutex<Vec<String>>,
    limits: Mutex<LayerLimits>,
    /// Blobs that this process wrote.
    made_blobs: Mutex<HashSet<Digest>>,
    _lock: Lock,
}

impl Store {
    /// Opens the store in `root`, making it if there is none.
    ///
    /// Removes what dead processes left unfinished, and nothing else is scanned.
    /// Errors: [`Error::NewerVersion`] and [`Error::UnknownFeature`] for a store of a newer
    /// program, [`Error::OwnedByAnother`], [`Error::NotAStore`] for a directory with other
    /// content; none of them touches it.
    pub fn open(root: &Path) -> Result<Self> {
        make_root(root)?;
        let root = std::path::absolute(root).at("find", root)?;
        check_owner(&root)?;
        let format = match version::check(&root)? {
            Presence::Present(format) => format,
            Presence::Old(format) => {
                bring_forward(&root)?;
                format
            }
            Presence::Absent => {
                restrict(&root)?;
                version::write(&root)?
            }
        };
        let lock = take_root_lock(&root)?;
        make_directories(&root)?;
        match session::remove_dead_sessions(&root.join("active")) {
            Err(error) if error.is_read_only() => {}
            other => other?,
        }
        let inner = Inner {
            root,
            format,
            session: Mutex::new(None),
            leases: Leases::default(),
            warnings: Mutex::default(),
            limits: Mutex::default(),
            made_blobs: Mutex::default(),
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Looks whether this user may use the store in `root`, if there is one.
    ///
    /// [`Store::open`] does so too; but a process that becomes root of a user namespace cannot
    /// tell others' files apart any more. Errors: [`Error::OwnedByAnother`].
    pub fn check_owner(root: &Path) -> Result<()> {
        match root.exists() {
            true => check_owner(root),
            false => Ok(()),
        }
    }

    /// Returns what went wrong since the last time this was asked, without being in the way.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings())
    }

    pub(crate) fn made_blobs(&self) -> MutexGuard<'_, HashSet<Digest>> {
        let made = self.inner.made_blobs.lock();
        made.unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers something that went wrong without being in the way.
    pub(crate) fn warn(&self, warning: String) {
        let mut warnings = self.warnings();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    fn warnings(&self) -> MutexGuard<'_, Vec<String>> {
        let warnings = self.inner.warnings.lock();
        warnings.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the root directory, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Returns the form of the layers.
    pub fn whiteout_format(&self) -> WhiteoutFormat {
        self.inner.format
    }

    /// Returns the form of the layers of the store in `root`, or that they would have in one that
    /// is made there; none where there is no directory yet. Nothing is made.
    ///
    /// Errors: as [`Store::open`].
    pub fn whiteout_format_in(root: &Path) -> Result<Option<WhiteoutFormat>> {
        if !root.is_dir() {
            return Ok(None);
        }
        Ok(Some(match version::check(root)? {
            Presence::Present(format) | Presence::Old(format) => format,
            Presence::Absent => layer_format::of_new(root),
        }))
    }

    /// Returns the content: files named by their digest.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs::of(self)
    }

    /// Returns the committed layers, and begins new ones.
    pub fn layers(&self) -> Layers<'_> {
        Layers::of(self)
    }

    /// Returns the layers of pulled images by chain ID.
    pub fn chains(&self) -> Chains<'_> {
        Chains::of(self)
    }

    /// Returns the cache records.
    pub fn records(&self) -> Records<'_> {
        Records::of(self)
    }

    /// Returns what the keys of records were made of.
    pub fn recipes(&self) -> Recipes<'_> {
        Recipes::of(self)
    }

    /// Returns the records of builds.
    pub fn builds(&self) -> Builds<'_> {
        Builds::of(self)
    }

    /// Returns the named images.
    pub fn images(&self) -> Images<'_> {
        Images::of(self)
    }

    /// Returns the index of compressed forms of layers.
    pub fn compressed(&self) -> Compressed<'_> {
        Compressed::of(self)
    }

    /// Returns the logs of steps.
    pub fn logs(&self) -> Logs<'_> {
        Logs::of(self)
    }

    /// Returns the cache mounts of steps.
    pub fn cache_mounts(&self) -> CacheMounts<'_> {
        CacheMounts::of(self)
    }

    /// Returns the path of the context index `name`; there may be no file yet.
    pub fn index_path(&self, name: &str) -> Result<PathBuf> {
        let directory = self.path("index");
        make_directories_to(&directory)?;
        Ok(directory.join(Digest::sha256(name.as_bytes()).hex()))
    }

    /// Returns the path of the file `name` that is kept whatever room is wanted: what is
    /// trusted because it was seen before. There may be no file yet.
    pub fn trust_path(&self, name: &str) -> Result<PathBuf> {
        let directory = self.path("trust");
        make_directories_to(&directory)?;
        Ok(directory.join(name))
    }

    /// Makes everything that was renamed into the store so far durable.
    ///
    /// Records and chains are written only after this: a name never outlives its content.
    pub fn sync(&self) -> Result<()> {
        let root = File::open(self.root()).at("open", self.root())?;
        rustix::fs::syncfs(&root).at("write to disk", self.root())
    }

    /// Takes the lock of the unit of work `name`, so that processes do it once.
    ///
    /// While another holds it `on_wait` is asked again and again, at most 25 ms apart, and
    /// told who that is. The lock is free when it is dropped or its owner is dead.
    /// Look whether the work is done after taking it. Errors: [`Error::GaveUpWaiting`].
    pub fn lock_key(
        &self,
        name: &str,
        mut on_wait: impl FnMut(Waiting) -> Patience,
    ) -> Result<KeyLock> {
        let path = self
            .path("locks")
            .join(Digest::sha256(name.as_bytes()).hex());
        lock::lock_key(&path, name, &mut on_wait)
    }

    /// Writes `bytes` to `path`, outside or inside the store's own folders, whole or not at
    /// all, without waiting for the disk. `path` must be in the store's file system.
    pub fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        self.replace_file_with(path, |file| file.write_all(bytes))
    }

    /// As [`Store::replace_file`], with what `write` writes.
    pub fn replace_file_with(
        &self,
        path: &Path,
        write: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut temporary = self.temporary()?;
        write(&mut temporary.file).at("write", temporary.path())?;
        temporary.rename(path)
    }

    /// Returns the path of `folder` in the root.
    pub(crate) fn path(&self, folder: &str) -> PathBuf {
        self.root().join(folder)
    }

    pub(crate) fn limits_cell(&self) -> &Mutex<LayerLimits> {
        &self.inner.limits
    }

    /// Returns the leases of this process.
    pub(crate) fn leases(&self) -> &Leases {
        &self.inner.leases
    }

    /// Removes what this process needs no more, and would otherwise remove when it closes the
    /// store: for when there is time, beside other work.
    pub fn remove_discarded(&self) {
        let session = self.session_cell().clone();
        if let Some(session) = session {
            session.remove_discarded();
        }
    }

    /// Returns the session, begun now if it was not.
    pub(crate) fn session(&self) -> Result<Arc<Session>> {
        let mut session = self.session_cell();
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let begun = Arc::new(Session::begin(&self.path("active"))?);
        *session = Some(begun.clone());
        Ok(begun)
    }

    fn session_cell(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        let session = self.inner.session.lock();
        session.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a new empty file that is removed unless it gets its final name.
    pub(crate) fn temporary(&self) -> Result<Temporary> {
        Temporary::create(self.session()?.fresh_path())
    }
}

fn make_root(root: &Path) -> Result<()> {
    match root.is_dir() {
        true => Ok(()),
        false => make_directories_to(root),
    }
}

/// Makes `path` and what is missing above it, for the owner only.
pub(crate) fn make_directories_to(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .at("make directory", path)
}

fn make_directories(root: &Path) -> Result<()> {
    for name in DIRECTORIES {
        match session::make_directory(&root.join(name)) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            }
            // What only reads may not miss it.
            Err(error) if error.is_read_only() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Users have stores of their own: what one cannot read, or would leave to root, helps nobody.
fn check_owner(root: &Path) -> Result<()> {
    let owner = std::fs::metadata(root).at("examine", root)?.uid();
    let user = rustix::process::geteuid().as_raw();
    match owner == user {
        true => Ok(()),
        false => Err(Error::OwnedByAnother {
            path: root.to_owned(),
            owner: user_name(owner),
            user: user_name(user),
        }),
    }
}

/// Returns `user 1000 (ann)`, or without the name if the machine does not tell it.
fn user_name(id: u32) -> String {
    let accounts = std::fs::read("/etc/passwd").unwrap_or_default();
    let text = String::from_utf8_lossy(&accounts);
    let has_id = |line: &&str| line.split(':').nth(2) == Some(id.to_string().as_str());
    let name = text.lines().find(has_id);
    match name.and_then(|line| line.split(':').next()) {
        Some(name) => format!("user {id} ({name})"),
        None => format!("user {id}"),
    }
}

/// Layers hold set-user-ID programs of strangers: nobody else may reach them.
fn restrict(root: &Path) -> Result<()> {
    let permissions = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(root, permissions).at("restrict", root)
}

/// Brings an older store to this version, once nobody else has it open.
fn bring_forward(root: &Path) -> Result<()> {
    let path = root.join("lock");
    let file = lock::open_lock_file(&path)?;
    let _lock = lock::wait(file, &path, FlockOperation::LockExclusive)?;
    // Another may have done it while we waited; a newer program may have done more.
    match version::check(root)? {
        Presence::Old(_) => version::bring_forward(root),
        Presence::Present(_) | Presence::Absent => Ok(()),
    }
}

fn take_root_lock(root: &Path) -> Result<Lock> {
    let path = root.join("lock");
    let file = match lock::open_lock_file(&path) {
        // Locks need no writing: a store that is mounted read-only can be read.
        Err(error) if error.is_read_only() => File::open(&path).at("open lock file", &path)?,
        other => other?,
    };
    lock::wait(file, &path, FlockOperation::LockShared)
}
