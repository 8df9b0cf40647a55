//! The directories of this machine that a build reads, each scanned once for all its steps.

use crate::{BuildRequest, ContextModes, LocalDirectory, Owners, StepError};
use kiln_disk::Store;
use kiln_layer::scan::{Index, Scan};
use kiln_layer::tree::Tree;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The scans of one build.
pub(crate) struct Contexts<'build> {
    request: &'build BuildRequest,
    store: &'build Store,
    scans: Mutex<BTreeMap<String, Arc<Scan>>>,
}

impl<'build> Contexts<'build> {
    /// Returns the contexts of `request`, none of which was looked at yet.
    pub fn new(request: &'build BuildRequest, store: &'build Store) -> Self {
        Contexts {
            request,
            store,
            scans: Mutex::default(),
        }
    }

    /// Returns the scan of the directory called `name` in the request. `note` is told what is
    /// worth knowing.
    pub fn get(&self, name: &str, note: impl FnOnce(String)) -> Result<Arc<Scan>, StepError> {
        let mut scans = self.lock();
        if let Some(scan) = scans.get(name) {
            return Ok(scan.clone());
        }
        let directory = self.directory(name)?;
        let index = match is_lasting(directory) {
            true => self.index(&directory.path, note),
            false => Index::default(),
        };
        let scan = Arc::new(Scan::new(self.tree(directory)?, index));
        scans.insert(name.to_owned(), scan.clone());
        Ok(scan)
    }

    /// Returns the directory called `name` in the request, as it is.
    pub fn open(&self, name: &str) -> Result<Tree, StepError> {
        self.tree(self.directory(name)?)
    }

    /// Returns the path of the directory called `name` in the request, if another build may see
    /// that directory.
    pub fn lasting_name(&self, name: &str) -> Option<String> {
        let directory = self.directory(name).ok();
        let directory = directory.filter(|directory| is_lasting(directory));
        directory.map(|directory| index_name(&directory.path))
    }

    /// Keeps what was learned for the next build. What cannot be kept only costs time later.
    pub fn save(&self) {
        for (name, scan) in self.lock().iter() {
            let Some(directory) = self.directory(name).ok().filter(|_| scan.has_learned()) else {
                continue;
            };
            let path = self.store.index_path(&index_name(&directory.path));
            if let (Ok(path), true) = (path, is_lasting(directory)) {
                let write = |file: &mut File| scan.write_index(file);
                let _ = self.store.replace_file_with(&path, write);
            }
        }
    }

    fn directory(&self, name: &str) -> Result<&'build LocalDirectory, StepError> {
        let directory = self.request.directories.get(name);
        directory.ok_or_else(|| StepError::NotGiven {
            what: "build context",
            name: name.to_owned(),
        })
    }

    fn tree(&self, directory: &LocalDirectory) -> Result<Tree, StepError> {
        let tree = Tree::host(&directory.path)?;
        let tree = match directory.ignore.is_empty() {
            true => tree,
            false => tree.with_ignore(directory.ignore.clone()),
        };
        let tree = match directory.modes {
            ContextModes::Kept => tree,
            ContextModes::Normalized => tree.with_normalized_modes(),
        };
        // A store within the context must not be copied into itself.
        Ok(tree.without_directory(self.store.root())?)
    }

    /// Returns what earlier builds learned of the files of the directory at `root`. A damaged
    /// index is none.
    fn index(&self, root: &Path, note: impl FnOnce(String)) -> Index {
        let path = self.store.index_path(&index_name(root)).ok();
        let file = path.and_then(|path| File::open(path).ok());
        let Some(Ok(read)) = file.map(Index::read) else {
            return Index::default();
        };
        read.unwrap_or_else(|damage| {
            note(format!("{damage}: its files are read again"));
            Index::default()
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Scan>>> {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a directory may be seen by another build: not if it was unpacked for this one.
fn is_lasting(directory: &LocalDirectory) -> bool {
    directory.owners == Owners::Root
}

fn index_name(root: &Path) -> String {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    root.to_string_lossy().into_owned()
}
