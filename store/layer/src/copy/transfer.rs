//! Copying what was resolved.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::earlier::Earlier;
use super::making::{Making, Purpose, Run, Task};
use super::recording::{RecordedArchive, Recorder, Recording, Unrecordable};
use super::sources::{ResolvedSource, parents_of};
use super::walk::{Reached, Walk, Walked};
use super::writing::{BATCH_BYTES, BATCH_FILES, Hands, Writing};
use super::{CopyError, CopyRequest, ModeChange, Result, Source};
use crate::archive::WHITEOUT_PREFIX;
use crate::capture::CaptureOptions;
use crate::tree::{Attributes, FileKind, Follow, Metadata, Tree, TreeError, Xattr};

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
    let making = Making::new(source, request, options, recorder.is_some());
    let writing = Writing::new(&making);
    let copied: Result<Copied> = std::thread::scope(|scope| {
        let mut copier = Copier {
            source,
            target,
            request,
            links: HashMap::new(),
            recording: Recording::new(recorder, &making),
            copied: Copied::default(),
            making: &making,
            hands: writing.hands(scope),
        };
        for file in resolved {
            // Two sources may have files of one name; the latter is the one that stays.
            copier.hands.wait()?;
            copier.copy(file, &destination)?;
        }
        copier.record(|recorder, tree, bytes| recorder.end(tree, &destination, bytes));
        let Copier { hands, copied, .. } = copier;
        let archive = hands.finish()?;
        Ok(Copied { archive, ..copied })
        // The hands end when there is no copier that gives them work.
    });
    // A failed hand made the copier stop, so that is the reason.
    if let Some(failure) = writing.failure() {
        return Err(failure);
    }
    let copied = copied?;
    Ok(Copied {
        archive: copied.archive.filter(|_| making.is_recorded()),
        shared_files: making.shared_files(),
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

/// Makes the directory that the content of the one at `source_path` is copied to, as the request
/// says; returns where it lies.
pub(super) fn begin_directory(
    target: &mut Tree,
    request: &CopyRequest,
    source_path: &Path,
) -> Result<PathBuf> {
    let destination = make_destination(target, request)?;
    make_content_directory(target, request, source_path, &destination)?;
    Ok(destination)
}

fn make_content_directory(
    target: &mut Tree,
    request: &CopyRequest,
    source_path: &Path,
    destination: &Path,
) -> Result<()> {
    if at_target(target, destination)?.is_some_and(|metadata| !metadata.is_directory()) {
        return Err(directory_over_file(source_path, destination));
    }
    let made = target.make_parents(destination, &parent_attributes(request));
    made.map(drop).map_err(CopyError::Target)
}

fn at_target(target: &Tree, path: &Path) -> Result<Option<Metadata>> {
    let node = target.lookup(path, Follow::ParentsOnly);
    let node = node.map_err(CopyError::Target)?;
    Ok(node.map(|node| node.metadata))
}

/// Returns where the walk over a source begins.
pub(super) fn walk_of(request: &CopyRequest, file: &ResolvedSource) -> Walked {
    let relative = match &file.pivot {
        Some(_) => file.name.as_path(),
        None => Path::new(""),
    };
    Walked::start(&request.selection.exclude, &file.path, relative)
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
    recording: Recording<'env>,
    copied: Copied,
    making: &'env Making<'env>,
    hands: Hands<'scope, 'env>,
}

impl Copier<'_, '_, '_> {
    fn copy(&mut self, file: &ResolvedSource, destination: &Path) -> Result<()> {
        if file.is_content() {
            make_content_directory(self.target, self.request, &file.path, destination)?;
            return self.copy_content(walk_of(self.request, file), destination);
        }
        let existing = at_target(self.target, destination)?;
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
            self.copy_directory(walk_of(self.request, file), &file.metadata, &target_path)
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

    /// Makes a directory above a source that keeps its parents, unless it is there.
    fn make_parent(&mut self, from: &Path, to: &Path) -> Result<()> {
        match at_target(self.target, to)? {
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
        let xattrs = self.source.tree().xattrs(&from.path);
        let xattrs = xattrs.map_err(CopyError::Source)?;
        self.make_copy_of_directory(&from.path, metadata, xattrs, to)?;
        self.copy_content(from, to)
    }

    fn make_copy_of_directory(
        &mut self,
        from: &Path,
        metadata: &Metadata,
        xattrs: Vec<Xattr>,
        to: &Path,
    ) -> Result<()> {
        let attributes = Attributes {
            xattrs,
            ..self.making.attributes(metadata)
        };
        let is_new = self.target.make_new_directory(to, &attributes);
        if is_new.map_err(CopyError::Target)? {
            self.record(|recorder, tree, bytes| {
                recorder.new_directory(tree, to, &attributes, bytes)
            });
            return self.hands.pass_on();
        }
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
        while let Some(reached) = walk.next()? {
            let metadata = reached.file().metadata();
            if let Some(inside) = &reached.inside {
                let target_path = to.join(reached.below());
                let xattrs = inside.xattrs().to_vec();
                self.make_copy_of_directory(&reached.path(), &metadata, xattrs, &target_path)?;
            } else if !self.copy_run(&reached, &mut walk, to)? {
                let target_path = to.join(reached.below());
                self.copy_file(&reached.path(), &metadata, &target_path)?;
            }
        }
        Ok(())
    }

    /// Copies `reached` and what follows it in its directory, as far as that needs nothing but the
    /// directory; whether it did.
    fn copy_run(&mut self, reached: &Reached, walk: &mut Walk<'_>, to: &Path) -> Result<bool> {
        let directory = &reached.directory;
        let first = reached.file().name();
        let metadata = reached.file().metadata();
        if !is_plain(first, &metadata) {
            return Ok(false);
        }
        let into = self.target.upper_directory(&to.join(&directory.below));
        let Some(into) = into.map_err(CopyError::Target)? else {
            return Ok(false);
        };
        let (places, bytes) = run_of(reached, walk);
        let last = directory.file(places.end - 1).name();
        self.copied.files += places.len() as u64;
        self.record(|recorder, tree, bytes| {
            recorder.advance_over(tree, into.path(), (first, last), bytes)
        });
        let run = Run {
            from: directory.clone(),
            files: places,
            purpose: Purpose::Make(into),
        };
        self.hands.make(run, bytes)?;
        Ok(true)
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
                self.making.stop_recording();
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
            self.copied.has_hard_links = true;
            let linked = self.target.hard_link(to, first);
            self.making.stop_recording();
            return linked.map_err(|error| over_directory(error, from, metadata.kind, to));
        }
        self.copied.files += 1;
        let attributes = self.making.attributes(metadata);
        let copy = self
            .target
            .create_file(to, &attributes)
            .map_err(|error| over_directory(error, from, metadata.kind, to))?;
        if metadata.links > 1 {
            self.links.insert(inode, to.to_path_buf());
        }
        self.record(|recorder, tree, bytes| recorder.advance(tree, copy.path(), bytes));
        self.hands.fill(Task {
            from: from.to_path_buf(),
            seen: *metadata,
            copy,
        })
    }

    fn record(
        &mut self,
        note: impl FnOnce(&mut Recorder, &Tree, &mut Vec<u8>) -> Result<(), Unrecordable>,
    ) {
        self.recording.note(self.target, self.hands.archive(), note);
    }

    fn record_directory(&mut self, path: &Path) {
        self.record(|recorder, tree, bytes| recorder.directory(tree, path, bytes));
    }

    fn attributes(&self, from: &Path, metadata: &Metadata) -> Result<Attributes> {
        let xattrs = self.source.tree().xattrs(from).map_err(CopyError::Source)?;
        Ok(Attributes {
            xattrs,
            ..self.making.attributes(metadata)
        })
    }
}

/// Returns the plain files from `reached` on, as many as are handed on at once, and their bytes.
pub(super) fn run_of(reached: &Reached, walk: &mut Walk<'_>) -> (Range<usize>, u64) {
    let (mut files, mut bytes) = (1, reached.file().metadata().size);
    let following = walk.next_while(|file| {
        let (name, metadata) = (file.name(), file.metadata());
        let is_wanted = files < BATCH_FILES && bytes < BATCH_BYTES && is_plain(name, &metadata);
        if is_wanted {
            files += 1;
            bytes += metadata.size;
        }
        is_wanted
    });
    (reached.place..following.end.max(reached.place + 1), bytes)
}

/// Whether a file is made by no more than its directory: a regular one that has no other name,
/// and none that means a deletion.
pub(super) fn is_plain(name: &OsStr, metadata: &Metadata) -> bool {
    metadata.kind == FileKind::Regular
        && metadata.links == 1
        && !name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes())
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
