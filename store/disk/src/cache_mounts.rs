//! Cache mounts: directories that outlive builds, and who may use them when.
//!
//! `cache-mounts/<hex>/` holds `mount.json`, what is known of the mount, and its directories
//! `0`, `1`, …: users that share the mount or lock it use `0`, those that want a directory of
//! their own take the first that is free. Who uses a directory has its turn in
//! `turns/<hex>-<number>/`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_layer::tree::WhiteoutFormat;
use kiln_oci::Digest;
use rustix::fs::{FlockOperation, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::images::list_files;
use crate::lock::{self, Lock, Patience};
use crate::turns::{Access, Queue, Turn, WaitingForTurn};
use crate::usage::{self, DiskUsage};
use crate::{Store, durable, random, session, store};

/// What makes two cache mounts one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CacheMountKey {
    /// The identity that the plan gives.
    pub id: String,
    /// Permission bits of the directory when it is new.
    pub mode: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The digest of the files that it is filled with when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Digest>,
    /// What uses it: mounts for different purposes are never one.
    #[serde(default)]
    pub purpose: CacheMountPurpose,
}

/// What a cache mount is for.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CacheMountPurpose {
    /// Steps mount it, whoever wrote them.
    #[default]
    Steps,
    /// It is the bare repository of a git remote, that only this program may write to: what a
    /// step left there, git would believe.
    GitRepository,
}

impl CacheMountKey {
    /// Returns the name of the mount's folder: 64 hexadecimal digits.
    pub fn folder_name(&self) -> String {
        let Self {
            id,
            mode,
            uid,
            gid,
            seed,
            purpose,
        } = self;
        let seed = seed.as_ref().map(Digest::to_string).unwrap_or_default();
        let purpose = match purpose {
            CacheMountPurpose::Steps => "",
            CacheMountPurpose::GitRepository => "\0git repository",
        };
        let name = format!("{id}\0{mode:o}\0{uid}\0{gid}\0{seed}{purpose}");
        Digest::sha256(name.as_bytes()).hex().to_owned()
    }
}

/// What happens when two use one cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMountSharing {
    /// They share it.
    Shared,
    /// The second gets a directory of its own.
    Private,
    /// The second waits.
    Locked,
}

impl CacheMountSharing {
    /// Returns the word for it in Dockerfiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }
}

/// What is known of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMountFacts {
    /// Its identity.
    pub key: CacheMountKey,
    /// How it was used last.
    pub sharing: CacheMountSharing,
    /// How often it was used.
    pub uses: u64,
    /// When it was made, in seconds since 1970.
    pub created_seconds: i64,
}

/// A cache mount as it is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// The name of its folder.
    pub name: String,
    /// What is known of it; nothing if that was lost or damaged.
    pub facts: Option<CacheMountFacts>,
    /// The room that all its directories take.
    pub usage: DiskUsage,
    /// When it was last used, in seconds since 1970.
    pub used_seconds: i64,
    /// How many directories it has.
    pub directories: usize,
    /// Whether a living process uses it.
    pub is_in_use: bool,
}

/// The use of a cache mount by this process; over when dropped or when the process dies.
#[derive(Debug)]
pub struct CacheMountUse {
    store: Store,
    facts: CacheMountFacts,
    directory: PathBuf,
    _turn: Turn,
}

/// The cache mounts of a store.
#[derive(Debug, Clone, Copy)]
pub struct CacheMounts<'store> {
    store: &'store Store,
}

impl<'store> CacheMounts<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Begins to use the mount `key`; `user` tells others who does.
    ///
    /// Those who lock it, and those who share it while it is locked, wait in the order in
    /// which they came; `on_wait` is asked meanwhile, at most 25 ms apart. Who holds several
    /// mounts takes them in the order of their names. Errors: [`Error::GaveUpWaiting`].
    pub fn enter(
        &self,
        key: &CacheMountKey,
        sharing: CacheMountSharing,
        user: &str,
        on_wait: &mut dyn FnMut(&WaitingForTurn) -> Patience,
    ) -> Result<CacheMountUse> {
        let name = key.folder_name();
        let (number, turn) = match sharing {
            CacheMountSharing::Shared => (0, Access::Shared),
            CacheMountSharing::Locked => (0, Access::Exclusive),
            CacheMountSharing::Private => return self.enter_alone(key, user),
        };
        let queue = self.queue(&name, number);
        let turn = queue.enter(turn, &format!("cache mount {}", key.id), user, on_wait)?;
        self.begin_use(key, sharing, number, turn)
    }

    /// Waits until nobody else uses the mount `key` and keeps it so: to look after it, which
    /// counts as no use. `on_wait` is asked as in [`CacheMounts::enter`].
    pub fn hold(
        &self,
        key: &CacheMountKey,
        user: &str,
        on_wait: &mut dyn FnMut(&WaitingForTurn) -> Patience,
    ) -> Result<CacheMountUse> {
        let name = key.folder_name();
        let title = format!("cache mount {}", key.id);
        let queue = self.queue(&name, 0);
        let turn = queue.enter(Access::Exclusive, &title, user, on_wait)?;
        let facts = self.facts(&name)?.unwrap_or_else(|| CacheMountFacts {
            key: key.clone(),
            sharing: CacheMountSharing::Shared,
            uses: 0,
            created_seconds: now_seconds(),
        });
        Ok(CacheMountUse {
            store: self.store.clone(),
            facts,
            directory: self.folder(&name).join("0"),
            _turn: turn,
        })
    }

    /// Takes the first directory that nobody uses.
    fn enter_alone(&self, key: &CacheMountKey, user: &str) -> Result<CacheMountUse> {
        let name = key.folder_name();
        let mut number = 0;
        loop {
            let queue = self.queue(&name, number);
            if let Some(turn) = queue.try_enter(Access::Exclusive, user)? {
                return self.begin_use(key, CacheMountSharing::Private, number, turn);
            }
            number += 1;
        }
    }

    fn begin_use(
        &self,
        key: &CacheMountKey,
        sharing: CacheMountSharing,
        number: usize,
        turn: Turn,
    ) -> Result<CacheMountUse> {
        let folder = self.folder(&key.folder_name());
        let known = self.facts(&key.folder_name())?;
        let facts = CacheMountFacts {
            key: key.clone(),
            sharing,
            uses: known.as_ref().map_or(0, |facts| facts.uses) + 1,
            created_seconds: known.map_or_else(now_seconds, |facts| facts.created_seconds),
        };
        let used = CacheMountUse {
            store: self.store.clone(),
            facts,
            directory: folder.join(number.to_string()),
            _turn: turn,
        };
        used.write_facts()?;
        Ok(used)
    }

    /// Returns what is known of the mount with the folder `name`.
    pub fn facts(&self, name: &str) -> Result<Option<CacheMountFacts>> {
        durable::read_json_or_forget(&facts_path(&self.folder(name)))
    }

    /// Returns the mounts in order of their identities, with their sizes.
    pub fn list(&self) -> Result<Vec<CacheMount>> {
        let mut mounts = Vec::new();
        for name in self.names()? {
            mounts.push(self.examine(name)?);
        }
        mounts.sort_by_key(|mount| {
            let key = mount.facts.as_ref().map(|facts| facts.key.clone());
            (key, mount.name.clone())
        });
        Ok(mounts)
    }

    /// Returns the names of the mounts' folders.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let paths = list_files(&self.store.path("cache-mounts"))?;
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(paths.iter().filter_map(name).collect())
    }

    pub(crate) fn examine(&self, name: String) -> Result<CacheMount> {
        let folder = self.folder(&name);
        let directories = self.directories(&name)?.len();
        let mut is_in_use = false;
        for number in 0..directories.max(1) {
            is_in_use |= self.queue(&name, number).is_in_use()?;
        }
        Ok(CacheMount {
            facts: self.facts(&name)?,
            usage: usage::disk_usage(&folder)?,
            used_seconds: self.used_seconds(&folder)?,
            directories,
            is_in_use,
            name,
        })
    }

    fn used_seconds(&self, folder: &Path) -> Result<i64> {
        let facts = crate::lease::Stamp::of(&facts_path(folder))?;
        let stamp = match facts {
            Some(stamp) => Some(stamp),
            None => crate::lease::Stamp::of(folder)?,
        };
        Ok(stamp.map_or(0, |stamp| stamp.used_seconds()))
    }

    /// Removes the mount with the folder `name` and returns what room that gave back;
    /// nothing if a living process uses it.
    pub fn remove(&self, name: &str) -> Result<Option<DiskUsage>> {
        let mut freed = DiskUsage::default();
        for number in self.directories(name)? {
            let queue = self.queue(name, number);
            let Some(_turn) = queue.try_enter(Access::Exclusive, "removal")? else {
                return Ok(None);
            };
            let directory = self.folder(name).join(number.to_string());
            freed += self.store.discard(&directory)?;
        }
        freed += self.remove_folder(name)?;
        Ok(Some(freed))
    }

    /// Like [`CacheMounts::remove`], but nothing happens if the mount was used since `seen`.
    pub(crate) fn remove_unless_used_since(&self, seen: &CacheMount) -> Result<Option<DiskUsage>> {
        let facts = self.facts(&seen.name)?;
        let uses = |facts: &Option<CacheMountFacts>| facts.as_ref().map(|facts| facts.uses);
        match uses(&facts) == uses(&seen.facts) {
            true => self.remove(&seen.name),
            false => Ok(None),
        }
    }

    /// Removes what is left of a mount without directories.
    fn remove_folder(&self, name: &str) -> Result<DiskUsage> {
        let queue = self.queue(name, 0);
        let Some(_turn) = queue.try_enter(Access::Exclusive, "removal")? else {
            return Ok(DiskUsage::default());
        };
        let _guard = guard(self.store, FlockOperation::LockExclusive)?;
        match self.directories(name)?.is_empty() {
            true => self.store.discard(&self.folder(name)),
            // Somebody wanted a directory of his own just now.
            false => Ok(DiskUsage::default()),
        }
    }

    /// Returns the numbers of the mount's directories.
    fn directories(&self, name: &str) -> Result<Vec<usize>> {
        let paths = list_files(&self.folder(name))?;
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
        let mut numbers: Vec<usize> = paths.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.store.path("cache-mounts").join(name)
    }

    fn queue(&self, name: &str, number: usize) -> Queue {
        Queue::at(self.store.path("turns").join(format!("{name}-{number}")))
    }
}

impl CacheMountUse {
    /// Returns the form in which the files are captured and unpacked.
    pub fn format(&self) -> WhiteoutFormat {
        self.store.whiteout_format().of_plain_directory()
    }

    /// Returns what is known of the mount, this use included.
    pub fn facts(&self) -> &CacheMountFacts {
        &self.facts
    }

    /// Returns the directory, whether it is there or not.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Returns the directory; a new one appears, whole, once `fill` is done with it.
    ///
    /// Several that share the mount may fill it at once: the first wins.
    pub fn directory<E: From<Error>>(
        &self,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<&Path, E> {
        if !self.directory.is_dir() {
            let fresh = self.store.layers().begin()?;
            fill(&fresh.upper())?;
            self.publish(&fresh.upper(), RenameFlags::NOREPLACE)?;
        }
        Ok(&self.directory)
    }

    /// Puts the directory `fresh`, of this store's file system, in place of the mount's.
    pub fn replace(&self, fresh: &Path) -> Result<()> {
        match self.directory.is_dir() {
            true => self.publish(fresh, RenameFlags::EXCHANGE),
            false => self.publish(fresh, RenameFlags::NOREPLACE),
        }
    }

    fn publish(&self, fresh: &Path, flags: RenameFlags) -> Result<()> {
        let _guard = guard(&self.store, FlockOperation::LockShared)?;
        // Again, since somebody may have removed the mount while it had no directory.
        self.write_facts_guarded()?;
        let here = rustix::fs::CWD;
        match rustix::fs::renameat_with(here, fresh, here, &self.directory, flags) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error).at("put in place", &self.directory),
        }
    }

    fn write_facts(&self) -> Result<()> {
        let _guard = guard(&self.store, FlockOperation::LockShared)?;
        self.write_facts_guarded()
    }

    fn write_facts_guarded(&self) -> Result<()> {
        let folder = self.directory.parent().unwrap_or(&self.directory);
        store::make_directories_to(folder)?;
        let target = facts_path(folder);
        durable::write_json_lazily(self.store.temporary()?, &target, &self.facts)
    }
}

impl Drop for CacheMountUse {
    fn drop(&mut self) {
        if let Some(folder) = self.directory.parent() {
            crate::lease::touch_path(&facts_path(folder));
        }
    }
}

/// Nobody removes a mount's folder while something gets its name in it.
fn guard(store: &Store, operation: FlockOperation) -> Result<Lock> {
    let path = store.path("cache-mounts");
    let file = File::open(&path).at("open", &path)?;
    lock::wait(file, &path, operation)
}

fn facts_path(folder: &Path) -> PathBuf {
    folder.join("mount.json")
}

fn now_seconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Store {
    /// Takes `path` away in one step, then removes it, and returns what that gave back.
    pub(crate) fn discard(&self, path: &Path) -> Result<DiskUsage> {
        let trash = match self.session() {
            // A directory of its own takes a block, and this is to make room: what has no
            // owner in there is removed by the next who opens the store, if not by us.
            Err(error) if error.is_out_of_space() => {
                self.path("active").join(random::hexadecimal(8))
            }
            other => other?.fresh_path(),
        };
        match std::fs::rename(path, &trash) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(DiskUsage::default());
            }
            other => other.at("take away", path)?,
        }
        let freed = usage::freed_by_removal(&trash)?;
        session::remove_tree(&trash)?;
        Ok(freed)
    }
}
