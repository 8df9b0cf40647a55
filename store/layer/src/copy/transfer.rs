//! Copying what was resolved.

use std::collections::HashMap;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use super::earlier::{Earlier, Same, Unused};
use super::recording::{RecordedArchive, Recorder, Unrecordable};
use super::sources::{ResolvedSource, parents_of};
use super::walk::{Walk, Walked};
use super::writing::{CHUNK_BYTES, Hands, Task, Writing, read_some};
use super::{CopyError, CopyRequest, ModeChange, Result, Source};
use crate::archive::padding;
use crate::capture::CaptureOptions;
use crate::scan::Content;
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

/// What a copy into an empty layer makes use of, and what it finds out besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerCopy<'a> {
    /// Finds out the digest of the layer's archive, as a capture with these options would.
    pub record: Option<CaptureOptions>,
    /// A layer whose files may be used where they are the same.
    pub earlier: Option<&'a Earlier>,
}

/// What a copy found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The archive of the layer, where it could be told while the layer was made.
    pub archive: Option<RecordedArchive>,
    /// Regular files that were made, further names of the same apart.
    pub files: u64,
    /// Those that are files of the earlier layer.
    pub shared_files: u64,
    /// Whether the layer has files with several names.
    pub has_hard_links: bool,
}

/// Copies what the request selects of `source` into the empty layer that `target` writes to: the
/// only thing that is written to it. Call [`Tree::finish`] on the target afterwards.
pub fn copy_into_layer<'a>(
    source: impl Into<Source<'a>>,
    target: &mut Tree,
    request: &CopyRequest,
    options: &LayerCopy<'_>,
) -> Result<Copied> {
    let source = source.into();
    let resolved = source.resolve(&request.selection)?;
    copy_with(source, target, request, &resolved, options)
}

/// Copies files that were resolved before, or some of them.
pub fn copy_resolved<'a>(
    source: impl Into<Source<'a>>,
    target: &mut Tree,
    request: &CopyRequest,
    resolved: &[ResolvedSource],
) -> Result<()> {
    let options = LayerCopy::default();
    copy_with(source.into(), target, request, resolved, &options).map(drop)
}

fn copy_with(
    source: Source<'_>,
    target: &mut Tree,
    request: &CopyRequest,
    resolved: &[ResolvedSource],
    options: &LayerCopy<'_>,
) -> Result<Copied> {
    // Patterns that match nothing make nothing, not even the destination.
    if resolved.is_empty() {
        return Ok(Copied::default());
    }
    let recorder = options.record.map(|record| Recorder::new(record, target));
    let recorder = recorder.and_then(Result::ok);
    let destination = make_destination(target, request)?;
    let writing = Writing::new(source, recorder.is_some());
    let copied: Result<Copied> = std::thread::scope(|scope| {
        let mut copier = Copier {
            source,
            target,
            request,
            links: HashMap::new(),
            unused: options.earlier.map(Unused::of),
            recorder,
            copied: Copied::default(),
            writing: &writing,
            hands: writing.hands(scope),
        };
        for file in resolved {
            copier.copy(file, &destination)?;
        }
        copier.record(|recorder, tree, bytes| recorder.end(tree, &destination, bytes));
        let Copier { hands, copied, .. } = copier;
        let archive = hands.finish()?;
        Ok(Copied { archive, ..copied })
        // The hands end when there is no copier that gives them work.
    });
    let is_recorded = writing.is_recorded();
    // A failed hand made the copier stop, so that is the reason.
    if let Some(failure) = writing.failure() {
        return Err(failure);
    }
    let copied = copied?;
    Ok(Copied {
        archive: copied.archive.filter(|_| is_recorded),
        ..copied
    })
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
    unused: Option<Unused<'a>>,
    recorder: Option<Recorder>,
    copied: Copied,
    writing: &'env Writing<'env>,
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
            self.copy_file(&file.path, &file.metadata, None, &target_path)
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
                    .map_err(CopyError::Target)?;
                self.record_directory(to);
                Ok(())
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
            Err(TreeError::NotADirectory(_)) => return Err(directory_over_file(from, to)),
            made => made.map_err(CopyError::Target)?,
        }
        self.record_directory(to);
        self.hands.pass_on()
    }

    fn copy_content(&mut self, from: Walked, to: &Path) -> Result<()> {
        let exclude = &self.request.selection.exclude;
        let mut walk = Walk::new(self.source, exclude, from)?;
        while let Some(child) = walk.next()? {
            let target_path = to.join(&child.below);
            if child.metadata.is_directory() {
                self.make_copy_of_directory(&child.path, &child.metadata, &target_path)?;
            } else {
                self.copy_file(&child.path, &child.metadata, child.content, &target_path)?;
            }
        }
        Ok(())
    }

    fn copy_file(
        &mut self,
        from: &Path,
        metadata: &Metadata,
        content: Option<Content>,
        to: &Path,
    ) -> Result<()> {
        let copied = match metadata.kind {
            FileKind::Directory => return Err(directory_over_file(from, to)),
            FileKind::Regular => return self.copy_regular(from, metadata, content, to),
            FileKind::Symlink => {
                let target = self
                    .source
                    .tree()
                    .read_link(from)
                    .map_err(CopyError::Source)?;
                let attributes = self.attributes(from, metadata)?;
                let made = self.target.make_symlink(to, &target, &attributes);
                if let Ok(path) = &made {
                    self.record(|recorder, tree, bytes| {
                        recorder.link(tree, (path, &target), &attributes, bytes)
                    });
                }
                made.map(drop)
            }
            kind => {
                let attributes = self.attributes(from, metadata)?;
                let device = metadata.special_device;
                self.stop_recording();
                self.target.special(to, kind, device, &attributes)
            }
        };
        copied.map_err(|error| over_directory(error, from, metadata.kind, to))?;
        self.source.check_unchanged(from, metadata)
    }

    fn copy_regular(
        &mut self,
        from: &Path,
        metadata: &Metadata,
        content: Option<Content>,
        to: &Path,
    ) -> Result<()> {
        let inode = (metadata.device, metadata.inode);
        if metadata.links > 1
            && let Some(first) = self.links.get(&inode)
        {
            self.copied.has_hard_links = true;
            let linked = self.target.hard_link(to, first);
            self.stop_recording();
            return linked.map_err(|error| over_directory(error, from, metadata.kind, to));
        }
        self.copied.files += 1;
        let attributes = self.plain_attributes(metadata);
        if metadata.links == 1
            && let Some(content) = content
            && self.share(to, &attributes, metadata.size, &content)?
        {
            return Ok(());
        }
        let copy = self
            .target
            .create_file(to, &attributes)
            .map_err(|error| over_directory(error, from, metadata.kind, to))?;
        if metadata.links > 1 {
            self.links.insert(inode, to.to_path_buf());
        }
        let mut header = Vec::new();
        let size = metadata.size;
        self.record(|recorder, tree, bytes| {
            recorder.advance(tree, copy.path(), bytes)?;
            recorder.file(copy.path(), size, copy.attributes(), &mut header)
        });
        self.hands.write(Task {
            from: from.to_path_buf(),
            seen: *metadata,
            copy,
            header,
        })
    }

    /// Makes `to` a name of the file that an earlier layer has there, if it is the same; whether
    /// it is.
    fn share(
        &mut self,
        to: &Path,
        attributes: &Attributes,
        size: u64,
        content: &Content,
    ) -> Result<bool> {
        let Some(unused) = &mut self.unused else {
            return Ok(false);
        };
        let Some(same) = unused.find(to, attributes, size, content) else {
            return Ok(false);
        };
        // Whatever the reason, a copy is as good, or fails and says why.
        let is_shared = self.target.adopt(to, same.tree).unwrap_or(false);
        if is_shared {
            self.copied.shared_files += 1;
            self.record_shared(to, attributes, size, &same)?;
        }
        Ok(is_shared)
    }

    fn record_shared(
        &mut self,
        path: &Path,
        attributes: &Attributes,
        size: u64,
        same: &Same<'_>,
    ) -> Result<()> {
        self.record(|recorder, tree, bytes| {
            recorder.advance(tree, path, bytes)?;
            recorder.file(path, size, attributes, bytes)
        });
        let held = self
            .unused
            .as_mut()
            .and_then(|unused| unused.use_up(same, size));
        if !self.writing.is_recorded() {
            return Ok(());
        }
        match held {
            Some(content) => self.hands.archive().extend_from_slice(content),
            None => self.hash_again(path, size, same)?,
        }
        self.hands.archive().extend_from_slice(padding(size));
        self.hands.pass_on()
    }

    /// Reads a large file for the archive: what was read to compare it is gone.
    fn hash_again(&mut self, path: &Path, size: u64, same: &Same<'_>) -> Result<()> {
        let failed = |source: io::Error| CopyError::Content {
            path: path.to_path_buf(),
            source,
        };
        let mut file = same.file();
        file.rewind().map_err(failed)?;
        let mut left = size;
        while left > 0 {
            let bytes = self.hands.archive();
            bytes.reserve(CHUNK_BYTES);
            let read = read_some(file, bytes).map_err(failed)? as u64;
            if read == 0 || read > left {
                return Err(failed(io::Error::other("a layer of the store was changed")));
            }
            left -= read;
            self.hands.pass_on()?;
        }
        Ok(())
    }

    /// Lets the recorder take note of something, unless the recording was given up.
    fn record(
        &mut self,
        note: impl FnOnce(&mut Recorder, &Tree, &mut Vec<u8>) -> Result<(), Unrecordable>,
    ) {
        let recorder = self
            .recorder
            .as_mut()
            .filter(|_| self.writing.is_recorded());
        if let Some(recorder) = recorder
            && note(recorder, self.target, self.hands.archive()).is_err()
        {
            self.stop_recording();
        }
    }

    fn record_directory(&mut self, path: &Path) {
        self.record(|recorder, tree, bytes| recorder.directory(tree, path, bytes));
    }

    fn stop_recording(&self) {
        self.writing.stop_recording();
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
