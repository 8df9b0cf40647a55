//! A copy that becomes a layer *upon* an earlier one: only what differs from that is written.
//!
//! A changed `COPY . .` makes a layer nearly all of whose files an earlier layer has already, and
//! names for all of them are most of its cost. So everything is compared with the earlier layer
//! first, and read for the archive; then the files that differ are copied, and the directories on
//! the way to them made.
//!
//! What both show together must be what a copy of everything would have made:
//! - A file that is left to the earlier layer is what the copy would be, as [`super::earlier`]
//!   says; so are directories and links.
//! - The earlier layer shows nothing else. Whiteouts could not remove what it has too much: they
//!   would hide what lies below both.
//! - Where it has a directory there is one now, and none elsewhere, for the same reason; and none
//!   of its directories hides what lies below.
//! - What the layers below have does not matter to any of it: a directory that they show is made.
//!
//! A copy of which that is not true is made as a whole, as ever, and so is one of which much has
//! changed: it is the next to be built upon.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::comparison::Found;
use super::earlier::Earlier;
use super::making::{Making, Purpose, Run, Task};
use super::output::{Drain, Output};
use super::recording::{RecordedArchive, Recorder, Unrecordable};
use super::transfer::{begin_directory, is_plain, run_of, walk_of};
use super::walk::{Listed, Reached, Walk};
use super::writing::{Hands, Writing};
use super::{Copied, CopyError, CopyRequest, LayerCopy, Result, Source};
use crate::capture::CaptureOptions;
use crate::scan::{Scanned, ScannedEntry};
use crate::tree::handles::OpenDirectory;
use crate::tree::{Attributes, FileKind, Follow, Metadata, Tree};

/// Upon what a copy becomes a layer.
#[derive(Clone, Copy, Debug)]
pub struct UponCopy<'a> {
    /// The earlier layer.
    pub earlier: &'a Earlier,
    /// Finds out the digest of the archive of both, as a capture with these options would.
    pub record: Option<CaptureOptions>,
    /// When it is done.
    pub worth: Worth,
}

/// Which copies are worth a further directory for each mount.
#[derive(Clone, Copy, Debug)]
pub struct Worth {
    /// The least regular files that are copied.
    pub files: usize,
    /// Of so many files, directories and links one may differ.
    pub entries_per_difference: usize,
}

impl Default for Worth {
    fn default() -> Self {
        Worth {
            files: 500,
            entries_per_difference: 32,
        }
    }
}

/// Copies what the request selects of `source` into the empty layer that `target` writes to, as far
/// as the earlier layer has it not; both together are what [`super::copy_into_layer`] would have
/// made. The archive told is that of both. Call [`Tree::finish`] on the target afterwards.
///
/// Returns nothing where that cannot be done or is not worth it: then the layer is of no use. The
/// layers below must not have the earlier one among them.
pub fn copy_upon<'a>(
    source: impl Into<Source<'a>>,
    target: &mut Tree,
    request: &CopyRequest,
    upon: &UponCopy<'_>,
) -> Result<Option<Copied>> {
    match try_copy(source.into(), target, request, upon) {
        Ok(copied) => Ok(Some(copied)),
        Err(Ended::Unlike) => Ok(None),
        Err(Ended::Failed(error)) => Err(error),
    }
}

/// Why a comparison ended before its end.
enum Ended {
    /// The earlier layer is no use.
    Unlike,
    Failed(CopyError),
}

impl From<CopyError> for Ended {
    fn from(error: CopyError) -> Self {
        Ended::Failed(error)
    }
}

fn try_copy(
    source: Source<'_>,
    target: &mut Tree,
    request: &CopyRequest,
    upon: &UponCopy<'_>,
) -> Result<Copied, Ended> {
    let (earlier, record, worth) = (upon.earlier, upon.record, upon.worth);
    let resolved = source.resolve(&request.selection)?;
    let [file] = resolved.as_slice() else {
        return Err(Ended::Unlike);
    };
    if !file.is_content() || request.selection.parents {
        return Err(Ended::Unlike);
    }
    let walk = || Walk::new(source, &request.selection.exclude, walk_of(request, file));
    let (files, entries) = count(walk()?)?;
    if files < worth.files {
        return Err(Ended::Unlike);
    }
    let most_differences = entries / worth.entries_per_difference;
    let recorder = record.map(|record| Recorder::new(record, target));
    let recorder = recorder.transpose().map_err(|Unrecordable| Ended::Unlike)?;
    let destination = begin_directory(target, request, &file.path)?;
    check_way(target, earlier, &destination)?;
    let options = LayerCopy {
        record,
        earlier: None,
    };
    let making = Making::new(source, request, &options, recorder.is_some());
    let writing = Writing::new(&making);
    let compared: Result<_, Ended> = std::thread::scope(|scope| {
        let mut comparer = Comparer {
            source,
            target,
            earlier,
            shown: HashSet::from([destination.clone()]),
            destination: &destination,
            most_differences,
            recorder,
            making: &making,
            hands: writing.hands(scope),
        };
        comparer.compare(walk()?)?;
        Ok(comparer.hands.finish()?)
        // The hands end when there is no comparer that gives them work.
    });
    if let Err(Ended::Unlike) = compared {
        return Err(Ended::Unlike);
    }
    // A failed hand made the comparer stop, or failed last.
    if let Some(failure) = writing.failure() {
        return Err(failure.into());
    }
    let archive = compared?;
    if making.different.count() > most_differences {
        return Err(Ended::Unlike);
    }
    let mut writer = Writer {
        target,
        making: &making,
        destination: &destination,
    };
    writer.write(&making.different.sorted())?;
    Ok(copied(&making, files, archive))
}

fn copied(making: &Making<'_>, files: usize, archive: Option<RecordedArchive>) -> Copied {
    Copied {
        archive: archive.filter(|_| making.is_recorded()),
        files: files as u64,
        shared_files: 0,
        has_hard_links: false,
    }
}

/// Returns how many regular files there are, and how many files of any kind.
fn count(mut walk: Walk<'_>) -> Result<(usize, usize)> {
    let (mut files, mut entries) = (0, 0);
    while let Some(reached) = walk.next()? {
        entries += 1;
        files += usize::from(reached.entry().metadata.kind == FileKind::Regular);
    }
    Ok((files, entries))
}

/// Checks that nothing on the way to `destination` hides the earlier layer, and that this has
/// nothing beside the way.
fn check_way(target: &mut Tree, earlier: &Earlier, destination: &Path) -> Result<(), Ended> {
    let made = target.upper_directory(destination);
    made.map_err(CopyError::Target)?.ok_or(Ended::Unlike)?;
    let mut below = destination;
    loop {
        let (_, is_opaque) = target.plain_upper(below).ok_or(Ended::Unlike)?;
        let there = earlier.directory(below).ok_or(Ended::Unlike)?;
        if is_opaque || there.plain_metadata().is_none() {
            return Err(Ended::Unlike);
        }
        let (Some(above), Some(name)) = (below.parent(), below.file_name()) else {
            return Ok(());
        };
        let there = earlier.directory(above).ok_or(Ended::Unlike)?;
        check_names(&there, |other| (other == name.as_bytes()).then_some(true))?;
        below = above;
    }
}

/// Checks that each name in `there` is that of a file that is to be made, and of a directory if
/// that is one: `is_directory` tells whether, if there is one.
fn check_names(
    there: &OpenDirectory,
    is_directory: impl Fn(&[u8]) -> Option<bool>,
) -> Result<(), Ended> {
    let mut is_like = true;
    let visited = there.for_each_name(|name, was_directory| {
        is_like &= is_directory(name) == Some(was_directory);
    });
    match visited.is_ok() && is_like {
        true => Ok(()),
        false => Err(Ended::Unlike),
    }
}

/// Whether what is `there` has the attributes that are wanted.
fn has_attributes(there: &Metadata, wanted: &Attributes) -> bool {
    (there.uid, there.gid) == (wanted.uid, wanted.gid)
        && Some(there.modified) == wanted.modified
        && wanted.xattrs.is_empty()
}

/// The first half: everything is compared, and nothing made but what layers below have.
struct Comparer<'a, 'scope, 'env> {
    source: Source<'a>,
    target: &'a mut Tree,
    earlier: &'a Earlier,
    destination: &'a Path,
    /// Directories of the target that are there before anything is copied.
    shown: HashSet<PathBuf>,
    most_differences: usize,
    recorder: Option<Recorder>,
    making: &'env Making<'env>,
    hands: Hands<'scope, 'env>,
}

impl Comparer<'_, '_, '_> {
    fn compare(&mut self, mut walk: Walk<'_>) -> Result<(), Ended> {
        let start = walk.start().ok_or(Ended::Unlike)?;
        let there = self.earlier.directory(self.destination);
        check_listing(&there.ok_or(Ended::Unlike)?, &start.listing)?;
        while let Some(reached) = walk.next()? {
            match &reached.inside {
                Some(inside) => self.compare_directory(&reached, inside)?,
                None => self.compare_file(&reached, &mut walk)?,
            }
            if self.making.different.count() > self.most_differences {
                return Err(Ended::Unlike);
            }
        }
        let destination = self.destination;
        self.record(|recorder, tree, bytes| recorder.end(tree, destination, bytes));
        Ok(())
    }

    fn compare_directory(&mut self, reached: &Reached, inside: &Scanned) -> Result<(), Ended> {
        let path = self.destination.join(reached.below());
        let attributes = Attributes {
            xattrs: inside.xattrs.clone(),
            ..self.making.attributes(&reached.entry().metadata)
        };
        let is_made = self.make_shown(&reached.directory, &path, &attributes)?;
        if !is_made {
            self.record(|recorder, tree, bytes| {
                recorder.new_directory(tree, &path, &attributes, bytes)
            });
        }
        self.hands.pass_on()?;
        let Some(there) = self.earlier.directory(&path) else {
            self.note_difference(reached);
            return Ok(());
        };
        let metadata = there.plain_metadata().ok_or(Ended::Unlike)?;
        check_listing(&there, inside)?;
        let is_same = metadata.mode == attributes.mode && has_attributes(&metadata, &attributes);
        if !is_made && !is_same {
            self.note_difference(reached);
        }
        Ok(())
    }

    /// Makes a directory of `directory` that the layers below show; whether they do.
    fn make_shown(
        &mut self,
        directory: &Listed,
        path: &Path,
        attributes: &Attributes,
    ) -> Result<bool, Ended> {
        let Some(metadata) = self.seen_below(directory, path)? else {
            return Ok(false);
        };
        // A whole copy says what is wrong with a file there.
        if !metadata.is_directory() {
            return Err(Ended::Unlike);
        }
        let made = self.target.make_directory(path, attributes);
        made.map_err(CopyError::Target)?;
        self.record(|recorder, tree, bytes| recorder.directory(tree, path, bytes));
        self.shown.insert(path.to_path_buf());
        // It may hide what the earlier layer has there.
        let attributes = self.target.plain_upper(path);
        match attributes.is_some_and(|(_, is_opaque)| !is_opaque) {
            true => Ok(true),
            false => Err(Ended::Unlike),
        }
    }

    /// Returns what the layers below show at `path`, which is in `directory`.
    fn seen_below(&self, directory: &Listed, path: &Path) -> Result<Option<Metadata>, Ended> {
        if !self
            .shown
            .contains(&self.destination.join(&directory.below))
        {
            return Ok(None);
        }
        let node = self.target.lookup(path, Follow::ParentsOnly);
        let node = node.map_err(CopyError::Target)?;
        Ok(node.map(|node| node.metadata))
    }

    fn compare_file(&mut self, reached: &Reached, walk: &mut Walk<'_>) -> Result<(), Ended> {
        let (name, entry) = reached.directory.file(reached.place);
        match entry.metadata.kind {
            FileKind::Symlink => self.compare_link(reached, name, &entry.metadata),
            _ if is_plain(name, entry) => self.compare_run(reached, walk),
            _ => Err(Ended::Unlike),
        }
    }

    /// Compares a regular file and those that follow it in its directory.
    fn compare_run(&mut self, reached: &Reached, walk: &mut Walk<'_>) -> Result<(), Ended> {
        let directory = &reached.directory;
        let path = self.destination.join(&directory.below);
        let (files, bytes) = run_of(reached, walk);
        for place in files.clone() {
            self.check_no_directory(directory, &path.join(directory.file(place).0))?;
        }
        let first = directory.file(files.start).0;
        let last = directory.file(files.end - 1).0;
        self.record(|recorder, tree, bytes| {
            recorder.advance_over(tree, &path, (first, last), bytes)
        });
        let run = Run {
            from: directory.clone(),
            files,
            purpose: Purpose::Compare {
                there: self.earlier.directory(&path),
                path,
            },
        };
        Ok(self.hands.make(run, bytes)?)
    }

    /// A file that would replace a directory of the layers below is an error, of which a whole
    /// copy tells.
    fn check_no_directory(&self, directory: &Listed, path: &Path) -> Result<(), Ended> {
        let below = self.seen_below(directory, path)?;
        match below.is_some_and(|metadata| metadata.is_directory()) {
            true => Err(Ended::Unlike),
            false => Ok(()),
        }
    }

    fn compare_link(
        &mut self,
        reached: &Reached,
        name: &OsStr,
        metadata: &Metadata,
    ) -> Result<(), Ended> {
        let (from, path) = (reached.path(), self.destination.join(reached.below()));
        self.check_no_directory(&reached.directory, &path)?;
        let tree = self.source.tree();
        let says = tree.read_link(&from).map_err(CopyError::Source)?;
        let attributes = Attributes {
            xattrs: tree.xattrs(&from).map_err(CopyError::Source)?,
            ..self.making.attributes(metadata)
        };
        self.source.check_unchanged(&from, metadata)?;
        self.record(|recorder, tree, bytes| {
            recorder.link(tree, (&path, &says), &attributes, bytes)
        });
        let directory = self
            .earlier
            .directory(path.parent().unwrap_or(Path::new("")));
        let there = directory.and_then(|there| there.link(name).ok());
        let is_same = |(there, said): (Metadata, PathBuf)| {
            there.kind == FileKind::Symlink && has_attributes(&there, &attributes) && said == says
        };
        if !there.is_some_and(is_same) {
            self.note_difference(reached);
        }
        Ok(())
    }

    fn note_difference(&self, reached: &Reached) {
        let found = (reached.directory.clone(), reached.place);
        self.making.different.add(found);
    }

    /// Lets the recorder take note of something, unless the recording was given up.
    fn record(
        &mut self,
        note: impl FnOnce(&mut Recorder, &Tree, &mut Vec<u8>) -> Result<(), Unrecordable>,
    ) {
        let recorder = self.recorder.as_mut().filter(|_| self.making.is_recorded());
        if let Some(recorder) = recorder
            && note(recorder, self.target, self.hands.archive()).is_err()
        {
            self.making.stop_recording();
        }
    }
}

/// Checks that each name in `there` is one that is to be made.
fn check_listing(there: &OpenDirectory, listing: &Scanned) -> Result<(), Ended> {
    let is_directory = |entry: &ScannedEntry| entry.metadata.is_directory();
    check_names(there, |name| listing.find(name).map(is_directory))
}

/// The second half: what differs is made.
struct Writer<'a> {
    target: &'a mut Tree,
    making: &'a Making<'a>,
    destination: &'a Path,
}

impl Writer<'_> {
    fn write(&mut self, different: &[Found]) -> Result<()> {
        for (directory, place) in different {
            self.make_way(directory)?;
            let (name, entry) = directory.file(*place);
            let from = directory.path.join(name);
            let to = self.destination.join(&directory.below).join(name);
            match entry.metadata.kind {
                FileKind::Directory => self.make_directory(directory, *place)?,
                FileKind::Symlink => self.make_link(&from, &entry.metadata, &to)?,
                _ => self.copy_file(from, &entry.metadata, &to)?,
            }
        }
        Ok(())
    }

    /// Makes the directory, and those above it up to the destination.
    fn make_way(&mut self, directory: &Arc<Listed>) -> Result<()> {
        let mut missing = Vec::new();
        let mut below = directory;
        while let Some((above, place)) = &below.above {
            if self
                .target
                .is_in_upper(&self.destination.join(&below.below))
            {
                break;
            }
            missing.push((above, *place));
            below = above;
        }
        let mut from_above = missing.into_iter().rev();
        from_above.try_for_each(|(above, place)| self.make_directory(above, place))
    }

    fn make_directory(&mut self, above: &Listed, place: usize) -> Result<()> {
        let (name, entry) = above.file(place);
        let to = self.destination.join(&above.below).join(name);
        if self.target.is_in_upper(&to) {
            return Ok(());
        }
        let xattrs = match entry.inside.get() {
            Some(inside) => inside.xattrs.clone(),
            None => self.xattrs(&above.path.join(name))?,
        };
        let attributes = Attributes {
            xattrs,
            ..self.making.attributes(&entry.metadata)
        };
        let made = self.target.make_directory(&to, &attributes);
        made.map_err(CopyError::Target)
    }

    fn make_link(&mut self, from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
        let says = self.making.source.tree().read_link(from);
        let attributes = Attributes {
            xattrs: self.xattrs(from)?,
            ..self.making.attributes(metadata)
        };
        let made = self
            .target
            .symlink(to, says.map_err(CopyError::Source)?, &attributes);
        made.map_err(CopyError::Target)?;
        self.making.source.check_unchanged(from, metadata)
    }

    fn copy_file(&mut self, from: PathBuf, metadata: &Metadata, to: &Path) -> Result<()> {
        let attributes = self.making.attributes(metadata);
        let copy = self.target.create_file(to, &attributes);
        let task = Task {
            from,
            seen: *metadata,
            copy: copy.map_err(CopyError::Target)?,
        };
        let mut output = Output {
            chunk: Vec::new(),
            drain: Drain::Nowhere,
        };
        self.making.fill(task, &mut output)
    }

    fn xattrs(&self, from: &Path) -> Result<Vec<crate::tree::Xattr>> {
        let xattrs = self.making.source.tree().xattrs(from);
        xattrs.map_err(CopyError::Source)
    }
}
