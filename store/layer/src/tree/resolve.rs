//! From a path to a directory and a name in it, without leaving the root.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::directory::{Directory, Found, stat_handle};
use super::{FileKind, Result, Tree, TreeError};

/// As many as the kernel follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// As long as the kernel takes (`PATH_MAX`, with its final zero): it bounds the depth too.
const MAX_PATH_BYTES: usize = 4095;

/// Which symbolic links of a path are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// All, the last component too.
    All,
    /// All but the last component.
    ParentsOnly,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The path without links, `.` and `..`, relative to the root; empty for the root.
    pub path: PathBuf,
    /// The directory that holds the last component; none when that directory is missing.
    pub parent: Option<Arc<Directory>>,
    /// What is there.
    pub found: Option<Found>,
}

impl Resolved {
    /// The last component; empty for the root.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    pub fn parent_path(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// What is there, with its directory.
    pub fn existing(self, asked: &Path) -> Result<(Arc<Directory>, Found, PathBuf)> {
        match (self.parent, self.found) {
            (Some(parent), Some(found)) => Ok((parent, found, self.path)),
            _ => Err(TreeError::NotFound(asked.to_path_buf())),
        }
    }
}

impl Tree {
    /// Resolves `path`. Components below a missing one are taken literally, so that the
    /// result is also where the file would be made.
    pub(super) fn resolve(&self, path: &Path, follow: Follow) -> Result<Resolved> {
        let (start, todo) = match self.known_parent(path) {
            Some((parent, name)) => (parent, vec![name]),
            None => (PathBuf::new(), components(path)),
        };
        let walk = Walk {
            tree: self,
            asked: path,
            path: start,
            todo,
            links: 0,
        };
        walk.run(follow)
    }

    /// Splits `path` at its parent if that is known: what is in the cache was reached
    /// without links.
    fn known_parent(&self, path: &Path) -> Option<(PathBuf, OsString)> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return None;
        };
        let parent = path.parent()?;
        let known = !parent.as_os_str().is_empty() && self.lock().get(parent).is_some();
        known.then(|| (parent.components().collect(), name.to_os_string()))
    }

    /// Returns the directory at a path that is already resolved, if it is there.
    pub(super) fn directory_at(&self, path: &Path) -> Result<Option<Arc<Directory>>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let Some(cached) = self.lock().get(path) {
            return Ok(Some(cached));
        }
        let mut missing = vec![path];
        let mut directory = self.root.clone();
        for above in path.ancestors().skip(1) {
            let known = self.lock().get(above);
            if above.as_os_str().is_empty() {
                break;
            }
            if let Some(known) = known {
                directory = known;
                break;
            }
            missing.push(above);
        }
        for path in missing.into_iter().rev() {
            let above = path.parent().unwrap_or(Path::new(""));
            let name = path.file_name().unwrap_or_default();
            directory = match self.find(&directory, above, name)? {
                Some(found) if found.metadata.is_directory() => {
                    self.enter(&directory, path, found.part)?
                }
                _ => return Ok(None),
            };
        }
        Ok(Some(directory))
    }

    /// Opens the directory at the resolved `path`, which `parent` shows from `part`.
    pub(super) fn enter(
        &self,
        parent: &Directory,
        path: &Path,
        part: usize,
    ) -> Result<Arc<Directory>> {
        if let Some(cached) = self.lock().get(path) {
            return Ok(cached);
        }
        if path.as_os_str().len() > MAX_PATH_BYTES {
            return Err(TreeError::io("open the directory", path)(
                Errno::NAMETOOLONG,
            ));
        }
        let name = path.file_name().unwrap_or_default();
        let mut directory = parent
            .descend(self.flavor, name, part)
            .map_err(TreeError::io("open the directory", path))?;
        if let Some(ignore) = &self.ignore {
            directory.parent_match = ignore.enter(path, &parent.parent_match);
        }
        let directory = Arc::new(directory);
        self.lock().insert(path, directory.clone());
        Ok(directory)
    }

    /// Returns what `parent` shows under `name`, unless it is ignored.
    pub(super) fn find(
        &self,
        parent: &Directory,
        parent_path: &Path,
        name: &OsStr,
    ) -> Result<Option<Found>> {
        let found = parent
            .find(self.flavor, name)
            .map_err(|error| TreeError::io("look up", parent_path.join(name))(error))?;
        match found {
            Some(found) if self.is_hidden(&found.metadata) => Ok(None),
            Some(found) if self.ignore.is_some() => {
                let visible = self.shows(parent, &parent_path.join(name), &found)?;
                Ok(visible.then_some(found))
            }
            found => Ok(found),
        }
    }

    /// Whether the ignore patterns leave something of `path` to see.
    fn shows(&self, parent: &Directory, path: &Path, found: &Found) -> Result<bool> {
        let Some(ignore) = &self.ignore else {
            return Ok(true);
        };
        if !ignore.excludes(path, &parent.parent_match) {
            return Ok(true);
        }
        if !found.metadata.is_directory() || ignore.can_prune(path) {
            return Ok(false);
        }
        // An excluded directory is seen if something in it is included again.
        let directory = self.enter(parent, path, found.part)?;
        let listed = directory
            .list(self.flavor)
            .map_err(TreeError::io("read the directory", path))?;
        for (name, _, _) in listed {
            if self.find(&directory, path, &name)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn root_found(&self) -> Result<Found> {
        let Some(top) = self.root.parts.first() else {
            return Ok(Found {
                metadata: empty_root(),
                part: 0,
            });
        };
        let metadata =
            stat_handle(top.as_fd()).map_err(TreeError::io("look up", Path::new("/")))?;
        let metadata = super::note::noted_handle(self.flavor, top.as_fd(), metadata);
        Ok(Found { metadata, part: 0 })
    }
}

/// The root of an empty stack.
fn empty_root() -> super::Metadata {
    super::Metadata {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        modified: super::Timestamp::default(),
        changed: super::Timestamp::default(),
        links: 1,
        inode: 0,
        device: 0,
        special_device: (0, 0),
    }
}

/// A path's components, last first, so that the next one is popped.
fn components(path: &Path) -> Vec<OsString> {
    let meaningful = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    let mut components: Vec<_> = meaningful.collect();
    components.reverse();
    components
}

struct Walk<'a> {
    tree: &'a Tree,
    asked: &'a Path,
    /// Where the walk is: a directory, or a path below a missing one.
    path: PathBuf,
    todo: Vec<OsString>,
    links: usize,
}

impl Walk<'_> {
    fn run(mut self, follow: Follow) -> Result<Resolved> {
        let mut directory = self.tree.directory_at(&self.path)?;
        while let Some(name) = self.todo.pop() {
            if name == ".." {
                self.path.pop();
                directory = self.tree.directory_at(&self.path)?;
                continue;
            }
            let found = match &directory {
                Some(parent) => self.tree.find(parent, &self.path, &name)?,
                None => None,
            };
            let last = self.todo.is_empty();
            let kind = found.map(|found| found.metadata.kind);
            if let (Some(parent), Some(FileKind::Symlink)) = (&directory, kind)
                && (!last || follow == Follow::All)
            {
                let part = found.map_or(0, |found| found.part);
                let target = self.read_link(parent, &name, part)?;
                directory = self.redirect(&target, directory)?;
                continue;
            }
            self.path.push(&name);
            if last {
                return Ok(Resolved {
                    path: self.path,
                    parent: directory,
                    found,
                });
            }
            directory = match (directory, found) {
                (Some(parent), Some(found)) if found.metadata.is_directory() => {
                    Some(self.tree.enter(&parent, &self.path, found.part)?)
                }
                (_, Some(_)) => return Err(TreeError::NotADirectory(self.path)),
                (_, None) => None,
            };
        }
        self.stopped_at_directory()
    }

    /// Ends a walk whose last component was `..`, or that had none.
    fn stopped_at_directory(self) -> Result<Resolved> {
        if self.path.as_os_str().is_empty() {
            return Ok(Resolved {
                path: self.path,
                parent: Some(self.tree.root.clone()),
                found: Some(self.tree.root_found()?),
            });
        }
        let parent_path = self.path.parent().unwrap_or(Path::new(""));
        let parent = self.tree.directory_at(parent_path)?;
        let name = self.path.file_name().unwrap_or_default();
        let found = match &parent {
            Some(parent) => self.tree.find(parent, parent_path, name)?,
            None => None,
        };
        Ok(Resolved {
            path: self.path,
            parent,
            found,
        })
    }

    fn read_link(&mut self, parent: &Directory, name: &OsStr, part: usize) -> Result<PathBuf> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(TreeError::TooManyLinks(self.asked.to_path_buf()));
        }
        read_link_at(parent, name, part)
            .map_err(|error| TreeError::io("read the link", self.path.join(name))(error))
    }

    fn redirect(
        &mut self,
        target: &Path,
        directory: Option<Arc<Directory>>,
    ) -> Result<Option<Arc<Directory>>> {
        self.todo.extend(components(target));
        if target.is_absolute() {
            self.path.clear();
            return Ok(Some(self.tree.root.clone()));
        }
        Ok(directory)
    }
}

pub(super) fn read_link_at(
    parent: &Directory,
    name: &OsStr,
    part: usize,
) -> std::result::Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(&parent.parts[part], name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}
