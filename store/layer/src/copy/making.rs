//! Making the regular files of a copy: each becomes a name of one of an earlier layer, or is made
//! and filled, or is only compared with one ([`super::comparison`]). Any number of threads do that
//! at once.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

use super::comparison::{Differences, RunComparison};
use super::earlier::{SMALL_FILE_BYTES, Same, Unused, Wanted};
use super::output::{Output, copy_small, read_parts};
use super::recording::FileHeaders;
use super::walk::Listed;
use super::{CopyError, CopyRequest, LayerCopy, Result, Source};
use crate::archive::padding;
use crate::scan::{self, ScannedFile};
use crate::tree::handles::{OpenDirectory, UpperDirectory};
use crate::tree::{Attributes, FileKind, Metadata, NewFile, TreeError, opened_metadata, xattrs_of};

/// Room that the header of a file mostly takes in the archive.
const HEADER_BYTES: usize = 512;

/// What making files takes.
pub(super) struct Making<'a> {
    pub source: Source<'a>,
    request: &'a CopyRequest,
    unused: Option<Unused<'a>>,
    headers: FileHeaders,
    shared_files: AtomicU64,
    /// What was compared and found to be different.
    pub different: Differences,
    is_recorded: AtomicBool,
    /// Whether the file system was seen not to share blocks between files.
    clones_nothing: AtomicBool,
}

/// A file that was made and is to be filled.
pub(super) struct Task {
    pub from: PathBuf,
    /// What was seen of it before.
    pub seen: Metadata,
    pub copy: NewFile,
}

/// Files with one name each, side by side as they are in their source.
pub(super) struct Run {
    pub from: Arc<Listed>,
    pub files: Range<usize>,
    pub purpose: Purpose,
}

/// What becomes of the files of a run.
pub(super) enum Purpose {
    /// They are made there.
    Make(UpperDirectory),
    /// They are compared with what an earlier layer has, if it has their directory.
    Compare {
        /// Their directory in the target.
        path: PathBuf,
        there: Option<OpenDirectory>,
    },
}

/// Where a file is read.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub directory: &'a Path,
    pub name: &'a OsStr,
}

impl Origin<'_> {
    pub fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }
}

/// Opens files of one directory of the source.
pub(super) struct Opening<'a> {
    source: Source<'a>,
    /// The directory, once a file of it was opened.
    directory: Option<OpenDirectory>,
}

impl<'a> Opening<'a> {
    pub fn of(source: Source<'a>) -> Self {
        Opening {
            source,
            directory: None,
        }
    }

    /// Opens a file. One of a scan is looked at again once it is read, not before.
    pub fn open(&mut self, origin: Origin<'_>) -> Result<File> {
        let tree = self.source.tree();
        if let (Source::Scan(_), None) = (self.source, &self.directory) {
            let opened = tree.open_directory_seen(origin.directory);
            self.directory = opened.map_err(CopyError::Source)?;
        }
        let opened = match &self.directory {
            Some(directory) => directory
                .open_seen(origin.name)
                .map_err(|error| TreeError::io("open", origin.path())(error)),
            None => tree.open_exactly(origin.path()).map(|(file, _)| file),
        };
        opened.map_err(CopyError::Source)
    }
}

impl<'a> Making<'a> {
    /// Returns one for the files that `request` asks for. `is_recorded` says whether the archive is to be told.
    pub fn new(
        source: Source<'a>,
        request: &'a CopyRequest,
        options: &LayerCopy<'a>,
        is_recorded: bool,
    ) -> Self {
        Making {
            source,
            request,
            unused: options.earlier.map(Unused::of),
            headers: FileHeaders::new(options.record.unwrap_or_default()),
            shared_files: AtomicU64::new(0),
            different: Differences::default(),
            is_recorded: AtomicBool::new(is_recorded),
            clones_nothing: AtomicBool::new(false),
        }
    }

    /// Whether the archive can still be told from what was made.
    pub fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Relaxed)
    }

    /// Gives the recording up.
    pub fn stop_recording(&self) {
        self.is_recorded.store(false, Ordering::Relaxed);
    }

    /// Returns how many files were made that are files of the earlier layer.
    pub fn shared_files(&self) -> u64 {
        self.shared_files.load(Ordering::Relaxed)
    }

    /// Returns what a copy of a file is given, but for extended attributes.
    pub fn attributes(&self, metadata: &Metadata) -> Attributes {
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

    /// Does what is to be done with the files of a run.
    pub fn make_run(&self, run: &Run, output: &mut Output<'_>) -> Result<()> {
        match &run.purpose {
            Purpose::Make(into) => self.make_files(run, into, output),
            Purpose::Compare { path, there } => {
                RunComparison::of(self, run, path, there.as_ref()).compare(output)
            }
        }
    }

    fn make_files(&self, run: &Run, into: &UpperDirectory, output: &mut Output<'_>) -> Result<()> {
        let mut making = RunMaking {
            making: self,
            run,
            into,
            from: Opening::of(self.source),
            there: self.unused.as_ref().and_then(|unused| {
                let there = unused.directory(into.path())?;
                Some((unused, there))
            }),
            path: into.path().to_path_buf(),
        };
        run.files
            .clone()
            .try_for_each(|place| making.make(place, output))
    }

    /// Fills a file.
    pub fn fill(&self, task: Task, output: &mut Output<'_>) -> Result<()> {
        let size = task.seen.size;
        self.append_header(task.copy.path(), size, task.copy.attributes(), output);
        let origin = Origin {
            directory: task.from.parent().unwrap_or(Path::new("")),
            name: task.from.file_name().unwrap_or_default(),
        };
        let tree = self.source.tree();
        let opened = match self.source {
            Source::Scan(_) => tree.open_seen(&task.from),
            Source::Tree(_) => tree.open_exactly(&task.from).map(|(file, _)| file),
        };
        let content = opened.map_err(CopyError::Source)?;
        self.fill_from(&content, origin, &task.seen, task.copy, output)
    }

    /// Appends the header of a file of `size` bytes at `path`, or gives the recording up.
    pub fn append_header(
        &self,
        path: &Path,
        size: u64,
        attributes: &Attributes,
        output: &mut Output<'_>,
    ) {
        output.make_room(HEADER_BYTES);
        let is_told = self.is_recorded()
            && self
                .headers
                .append(path, size, attributes, &mut output.chunk)
                .is_ok();
        if !is_told {
            self.stop_recording();
        }
    }

    /// Appends the header of a file as [`Making::append_header`] does, with room for what follows.
    pub fn begin_entry(
        &self,
        path: &Path,
        size: u64,
        attributes: &Attributes,
        output: &mut Output<'_>,
    ) {
        if size <= SMALL_FILE_BYTES {
            output.make_room(HEADER_BYTES + size as usize + padding(size).len());
        }
        self.append_header(path, size, attributes, output);
    }

    /// Takes note of a file of the earlier layer, which was read to be compared: what it holds, if
    /// that is little, begins at `start` of the output.
    pub fn record_same(
        &self,
        mut same: Same,
        size: u64,
        start: usize,
        output: &mut Output<'_>,
    ) -> io::Result<()> {
        if same.has_xattrs {
            // The header does not have them.
            self.stop_recording();
        }
        match self.is_recorded() {
            false => output.chunk.truncate(start),
            // What was read of a large one to compare it is gone.
            true if size > SMALL_FILE_BYTES => {
                same.file.rewind()?;
                if !read_parts(&same.file, size, output, |_| Ok(()))? {
                    return Err(io::Error::other("a layer of the store was changed"));
                }
            }
            true => {}
        }
        output.append(padding(size));
        output.flush_if_full();
        Ok(())
    }

    /// Fills `copy` with `content`, which is read at `origin`.
    fn fill_from(
        &self,
        content: &File,
        origin: Origin<'_>,
        seen: &Metadata,
        mut copy: NewFile,
        output: &mut Output<'_>,
    ) -> Result<()> {
        let xattrs = xattrs_of(content.as_fd()).map_err(|error| {
            let action = "read the extended attributes of";
            CopyError::Source(TreeError::io(action, origin.path())(error))
        })?;
        if !xattrs.is_empty() {
            // What the file gets of them is for the file system to say.
            self.stop_recording();
        }
        let (size, into) = (seen.size, copy.file());
        let copied = match (size <= SMALL_FILE_BYTES, self.is_recorded()) {
            (true, _) => copy_small(content, into, size, output),
            (false, true) => self.copy_parts(content, into, size, output),
            // Between two files the standard library uses copy_file_range, which shares the
            // blocks where the file system can.
            (false, false) => io::copy(&mut &*content, into).map(|copied| copied == size),
        };
        let is_whole = copied.map_err(|source| CopyError::Content {
            path: origin.path(),
            source,
        })?;
        if !is_whole {
            return Err(scan::changed(&origin.path()));
        }
        copy.set_xattrs(xattrs);
        copy.finish().map_err(CopyError::Target)?;
        self.end_entry(content, origin, seen, output)
    }

    /// Ends the archive's part of a file that was read, once it is seen to be what was seen before.
    pub fn end_entry(
        &self,
        content: &File,
        origin: Origin<'_>,
        seen: &Metadata,
        output: &mut Output<'_>,
    ) -> Result<()> {
        output.append(padding(seen.size));
        output.flush_if_full();
        match self.source {
            Source::Tree(_) => Ok(()),
            Source::Scan(_) => check_read(content, origin, seen),
        }
    }

    /// Copies a large file and hands what was read to `output`; whether it has `size` bytes.
    fn copy_parts(
        &self,
        from: &File,
        to: &mut File,
        size: u64,
        output: &mut Output<'_>,
    ) -> io::Result<bool> {
        let is_shared = self.shares_blocks(from, to)?;
        read_parts(from, size, output, |part| match is_shared {
            true => Ok(()),
            false => to.write_all(part),
        })
    }

    /// Lets the new file `to` have the blocks of `from`; whether it has them.
    fn shares_blocks(&self, from: &File, to: &File) -> io::Result<bool> {
        if self.clones_nothing.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => Ok(true),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::IO) => Err(io::Error::last_os_error()),
            Err(_) => {
                self.clones_nothing.store(true, Ordering::Relaxed);
                Ok(false)
            }
        }
    }
}

/// Checks that a file of a scan, which was read, is what was seen before.
fn check_read(content: &File, origin: Origin<'_>, seen: &Metadata) -> Result<()> {
    let now = opened_metadata(content.as_fd())
        .map_err(|error| CopyError::Source(TreeError::io("look up", origin.path())(error)))?;
    match scan::is_unchanged(seen, &now) {
        true => Ok(()),
        false => Err(scan::changed(&origin.path())),
    }
}

/// The making of one run.
struct RunMaking<'m, 'a> {
    making: &'m Making<'a>,
    run: &'m Run,
    into: &'m UpperDirectory,
    from: Opening<'a>,
    /// The directory of the earlier layer.
    there: Option<(&'m Unused<'a>, OpenDirectory)>,
    /// Path of the directory in the target, and for a while that of a file in it.
    path: PathBuf,
}

impl RunMaking<'_, '_> {
    fn make(&mut self, place: usize, output: &mut Output<'_>) -> Result<()> {
        let run = self.run;
        let file = run.from.file(place);
        let (name, metadata) = (file.name(), file.metadata());
        let attributes = self.making.attributes(&metadata);
        let size = metadata.size;
        self.path.push(name);
        let making = self.making;
        making.begin_entry(&self.path, size, &attributes, output);
        self.path.pop();
        if self.share(file, &attributes, output)? {
            return Ok(());
        }
        let origin = Origin {
            directory: &run.from.path,
            name,
        };
        let content = self.from.open(origin)?;
        let copy = self.into.create_file(name, attributes);
        let copy = copy.map_err(|error| over_directory(error, origin, self.into))?;
        making.fill_from(&content, origin, &metadata, copy, output)
    }

    /// Makes a file a name of the one that the earlier layer has there, if it is the same;
    /// whether it is.
    fn share(
        &self,
        wanted: ScannedFile<'_>,
        attributes: &Attributes,
        output: &mut Output<'_>,
    ) -> Result<bool> {
        let (Some((unused, there)), Some(content)) = (&self.there, wanted.content()) else {
            return Ok(false);
        };
        let (name, size) = (wanted.name(), wanted.metadata().size);
        let wanted = Wanted {
            attributes,
            size,
            content,
        };
        let start = output.chunk.len();
        let found = unused.find(there, name, wanted, &mut output.chunk);
        // Whatever the reason, a copy is as good, or fails and says why.
        let found = found.filter(|_| self.into.adopt(name, there).is_ok());
        let Some(same) = found else {
            output.chunk.truncate(start);
            return Ok(false);
        };
        unused.use_up(&same);
        self.making.shared_files.fetch_add(1, Ordering::Relaxed);
        self.making
            .record_same(same, size, start, output)
            .map_err(|source| CopyError::Content {
                path: self.into.path().join(name),
                source,
            })?;
        Ok(true)
    }
}

fn over_directory(error: TreeError, from: Origin<'_>, into: &UpperDirectory) -> CopyError {
    match error {
        TreeError::IsADirectory(_) => CopyError::FileOverDirectory {
            target: into.path().join(from.name),
            source_path: from.path(),
            kind: FileKind::Regular,
        },
        other => CopyError::Target(other),
    }
}
