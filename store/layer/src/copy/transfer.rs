//! Copying what was resolved.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::sources::{ResolvedSource, parents_of};
use super::walk::{Walk, Walked};
use super::writing::{Hands, Task, Writing};
use super::{CopyError, CopyRequest, ModeChange, Result, Source};
use crate::tree::{Attributes, FileKind, Follow, Metadata, Tree, TreeError};

const PARENT_MODE: u32 = 0o755;
/// Copies what the request selects of `source` into `target`. Call [`Tree::finish`] on the
/// target when all is written.
pub fn copy_into<'a>(
    source: impl Into<Source<'a>>,
    target: &mut Tree,
    request: &CopyRequest,
) -> Result<()> {
    let source = source.into();
    let resolved = source.resolve(&request.selection)?;
    copy_resolved(source, target, request, &resolved)
}

/// Copies files that were resolved before, or some of them.
pub fn copy_resolved<'a>(
    source: impl Into<Source<'a>>,
    target: &mut Tree,
    request: &CopyRequest,
    resolved: &[ResolvedSource],
) -> Result<()> {
    // Patterns that match nothing make nothing, not even the destination.
    if resolved.is_empty() {
        return Ok(());
    }
    let destination = make_destination(target, request)?;
    let source = source.into();
    let writing = Writing::new(source);
    let copied = std::thread::scope(|scope| {
        let mut copier = Copier {
            source,
            target,
            request,
            links: HashMap::new(),
            hands: writing.hands(scope),
        };
        let mut resolved = resolved.iter();
        resolved.try_for_each(|file| copier.copy(file, &destination))
        // The hands end when there is no copier that gives them work.
    });
    // A failed hand made the copier stop, so that is the reason.
    writing.failure().map_or(copied, Err)
}

/// Makes the destination a directory, with its missing parents, and returns its path: for
/// archives, which are unpacked into it. The mode asked for is not for archives.
pub fn prepare_destination(target: &mut Tree, request: &CopyRequest) -> Result<PathBuf> {
    let (uid, gid) = request.owner.unwrap_or((0, 0));
    let attributes = Attributes::root(PARENT_MODE).owned_by(uid, gid);
    target
        .make_parents(&request.destination, &attributes)
        .map_err(CopyError::Target)
}

/// Makes the directories that the destination says exist; returns where it leads.
fn make_destination(target: &mut Tree, request: &CopyRequest) -> Result<PathBuf> {
    let written = request.destination.as_str();
    let directory = match written.rsplit_once('/') {
        _ if request.selection.parents => written,
        Some((_, "" | ".")) => written,
        Some((parent, _)) => parent,
        None => "",
    };
    target
        .make_parents(directory, &parent_attributes(request))
        .map_err(CopyError::Target)?;
    target
        .resolve_path(written, Follow::All)
        .map_err(CopyError::Target)
}

/// Attributes of directories that are made only to hold something.
fn parent_attributes(request: &CopyRequest) -> Attributes {
    let mode = match request.mode {
        Some(ModeChange::Octal(bits)) => bits,
        _ => PARENT_MODE,
    };
    let (uid, gid) = request.owner.unwrap_or((0, 0));
    Attributes::root(mode).owned_by(uid, gid)
}

struct Copier<'a, 'scope, 'env> {
    source: Source<'a>,
    target: &'a mut Tree,
    request: &'a CopyRequest,
    /// Where files with several names were copied to, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    hands: Hands<'scope, 'env>,
}

impl Copier<'_, '_, '_> {
    fn copy(&mut self, file: &ResolvedSource, destination: &Path) -> Result<()> {
        let existing = self.at_target(destination)?;
        if file.is_content() {
            if existing.is_some_and(|metadata| !metadata.is_directory()) {
                return Err(directory_over_file(&file.path, destination));
            }
            self.target
                .make_parents(destination, &parent_attributes(self.request))
                .map_err(CopyError::Target)?;
            return self.copy_content(self.start(file), destination);
        }
        for (from, name) in parents_of(file) {
            self.make_parent(&from, &destination.join(name))?;
        }
        let into = existing.is_some_and(|metadata| metadata.is_directory());
        let target_path = match into || file.pivot.is_some() {
            true => destination.join(&file.name),
            false => destination.to_path_buf(),
        };
        if existing.is_none() {
            self.make_parents_of(&target_path)?;
        }
        if file.metadata.is_directory() {
            self.copy_directory(self.start(file), &file.metadata, &target_path)
        } else {
            self.copy_file(&file.path, &file.metadata, &target_path)
        }
    }

    /// Makes the directories above what a link to nothing leads to.
    fn make_parents_of(&mut self, path: &Path) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        self.target
            .make_parents(parent, &parent_attributes(self.request))
            .map_err(CopyError::Target)
            .map(drop)
    }

    fn start(&self, file: &ResolvedSource) -> Walked {
        let relative = match &file.pivot {
            Some(_) => file.name.as_path(),
            None => Path::new(""),
        };
        Walked::start(&self.request.selection.exclude, &file.path, relative)
    }

    fn at_target(&self, path: &Path) -> Result<Option<Metadata>> {
        let node = self.target.lookup(path, Follow::ParentsOnly);
        let node = node.map_err(CopyError::Target)?;
        Ok(node.map(|node| node.metadata))
    }

    /// Makes a directory above a source that keeps its parents, unless it is there.
    fn make_parent(&mut self, from: &Path, to: &Path) -> Result<()> {
        match self.at_target(to)? {
            Some(metadata) if metadata.is_directory() => Ok(()),
            Some(_) => Err(directory_over_file(from, to)),
            None => {
                let node = self.source.tree().lookup(from, Follow::All);
                let node = node.map_err(CopyError::Source)?;
                let metadata = node.ok_or_else(|| vanished(from))?.metadata;
                let attributes = self.attributes(from, &metadata)?;
                self.target
                    .make_directory(to, &attributes)
                    .map_err(CopyError::Target)
            }
        }
    }

    fn copy_directory(&mut self, from: Walked, metadata: &Metadata, to: &Path) -> Result<()> {
        self.make_copy_of_directory(&from.path, metadata, to)?;
        self.copy_content(from, to)
    }

    fn make_copy_of_directory(
        &mut self,
        from: &Path,
        metadata: &Metadata,
        to: &Path,
    ) -> Result<()> {
        let attributes = self.attributes(from, metadata)?;
        match self.target.make_directory(to, &attributes) {
            Err(TreeError::NotADirectory(_)) => Err(directory_over_file(from, to)),
            made => made.map_err(CopyError::Target),
        }
    }

    fn copy_content(&mut self, from: Walked, to: &Path) -> Result<()> {
        let exclude = &self.request.selection.exclude;
        let mut walk = Walk::new(self.source, exclude, from)?;
        while let Some(child) = walk.next()? {
            let target_path = to.join(&child.below);
            if child.metadata.is_directory() {
                self.make_copy_of_directory(&child.path, &child.metadata, &target_path)?;
            } else {
                self.copy_file(&child.path, &child.metadata, &target_path)?;
            }
        }
        Ok(())
    }

    fn copy_file(&mut self, from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
        let copied = match metadata.kind {
            FileKind::Directory => return Err(directory_over_file(from, to)),
            FileKind::Regular => return self.copy_regular(from, metadata, to),
            FileKind::Symlink => {
                let target = self
                    .source
                    .tree()
                    .read_link(from)
                    .map_err(CopyError::Source)?;
                let attributes = self.attributes(from, metadata)?;
                self.target.symlink(to, target, &attributes)
            }
            kind => {
                let attributes = self.attributes(from, metadata)?;
                let device = metadata.special_device;
                self.target.special(to, kind, device, &attributes)
            }
        };
        copied.map_err(|error| over_directory(error, from, metadata.kind, to))?;
        self.source.check_unchanged(from, metadata)
    }

    fn copy_regular(&mut self, from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
        let inode = (metadata.device, metadata.inode);
        if metadata.links > 1
            && let Some(first) = self.links.get(&inode)
        {
            let linked = self.target.hard_link(to, first);
            return linked.map_err(|error| over_directory(error, from, metadata.kind, to));
        }
        let (content, opened) = self.open(from, metadata)?;
        let copy = self
            .target
            .create_file(to, &self.plain_attributes(&opened))
            .map_err(|error| over_directory(error, from, metadata.kind, to))?;
        if metadata.links > 1 {
            self.links.insert(inode, to.to_path_buf());
        }
        self.hands.write(Task {
            from: from.to_path_buf(),
            seen: *metadata,
            size: opened.size,
            content,
            copy,
        })
    }

    /// Opens a file. One of a scan is looked at again once it is read, not before.
    fn open(&self, from: &Path, seen: &Metadata) -> Result<(File, Metadata)> {
        let tree = self.source.tree();
        let opened = match self.source {
            Source::Scan(_) => tree.open_seen(from).map(|file| (file, *seen)),
            Source::Tree(_) => tree.open_exactly(from),
        };
        opened.map_err(CopyError::Source)
    }

    fn attributes(&self, from: &Path, metadata: &Metadata) -> Result<Attributes> {
        let xattrs = self.source.tree().xattrs(from).map_err(CopyError::Source)?;
        Ok(Attributes {
            xattrs,
            ..self.plain_attributes(metadata)
        })
    }

    fn plain_attributes(&self, metadata: &Metadata) -> Attributes {
        let kept = metadata.attributes();
        let owner = self.request.owner.or(self.request.default_owner);
        let (uid, gid) = owner.unwrap_or((kept.uid, kept.gid));
        let mode = match &self.request.mode {
            Some(change) => change.apply(kept.mode, metadata.is_directory()),
            None => kept.mode,
        };
        Attributes {
            mode,
            uid,
            gid,
            ..kept
        }
    }
}

fn vanished(path: &Path) -> CopyError {
    CopyError::Source(TreeError::NotFound(path.to_path_buf()))
}

fn directory_over_file(source_path: &Path, target: &Path) -> CopyError {
    CopyError::DirectoryOverFile {
        target: target.to_path_buf(),
        source_path: source_path.to_path_buf(),
    }
}

fn over_directory(error: TreeError, from: &Path, kind: FileKind, to: &Path) -> CopyError {
    match error {
        TreeError::IsADirectory(_) => CopyError::FileOverDirectory {
            target: to.to_path_buf(),
            source_path: from.to_path_buf(),
            kind,
        },
        other => CopyError::Target(other),
    }
}
