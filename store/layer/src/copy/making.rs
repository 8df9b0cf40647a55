//! Making the regular files of a copy: each becomes a name of one of an earlier layer, or is made
//! and filled. Any number of threads do that at once.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

use super::earlier::{SMALL_FILE_BYTES, Same, Unused, Wanted};
use super::output::{Output, copy_small, read_parts};
use super::recording::FileHeaders;
use super::walk::Listed;
use super::{CopyError, CopyRequest, LayerCopy, Result, Source};
use crate::archive::padding;
use crate::scan::{self, ScannedEntry};
use crate::tree::handles::{OpenDirectory, UpperDirectory};
use crate::tree::{Attributes, FileKind, Metadata, NewFile, TreeError, opened_metadata, xattrs_of};

/// Room that the header of a file mostly takes in the archive.
const HEADER_BYTES: usize = 512;

/// What making files takes.
pub(super) struct Making<'a> {
    source: Source<'a>,
    request: &'a CopyRequest,
    unused: Option<Unused<'a>>,
    headers: FileHeaders,
    shared_files: AtomicU64,
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

/// Files with one name each that are to be made, side by side as they are in their source.
pub(super) struct Run {
    pub from: Arc<Listed>,
    pub files: Range<usize>,
    pub into: UpperDirectory,
}

/// Where a file is read.
#[derive(Clone, Copy)]
struct Origin<'a> {
    directory: &'a Path,
    name: &'a OsStr,
}

impl Origin<'_> {
    fn path(&self) -> PathBuf {
        self.directory.join(self.name)
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

    /// Makes the files of a run.
    pub fn make_run(&self, run: &Run, output: &mut Output<'_>) -> Result<()> {
        let mut making = RunMaking {
            making: self,
            run,
            from: None,
            there: self.unused.as_ref().and_then(|unused| {
                let there = unused.directory(run.into.path())?;
                Some((unused, there))
            }),
            path: run.into.path().to_path_buf(),
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

    fn append_header(
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
        output.append(padding(size));
        output.flush_if_full();
        copy.set_xattrs(xattrs);
        copy.finish().map_err(CopyError::Target)?;
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
    /// The directory that is read, once a file of it was.
    from: Option<OpenDirectory>,
    /// The directory of the earlier layer.
    there: Option<(&'m Unused<'a>, OpenDirectory)>,
    /// Path of the directory in the target, and for a while that of a file in it.
    path: PathBuf,
}

impl RunMaking<'_, '_> {
    fn make(&mut self, place: usize, output: &mut Output<'_>) -> Result<()> {
        let run = self.run;
        let (name, entry) = run.from.file(place);
        let attributes = self.making.attributes(&entry.metadata);
        let size = entry.metadata.size;
        if size <= SMALL_FILE_BYTES {
            output.make_room(HEADER_BYTES + size as usize + padding(size).len());
        }
        self.path.push(name);
        let making = self.making;
        making.append_header(&self.path, size, &attributes, output);
        self.path.pop();
        if self.share(name, entry, &attributes, output)? {
            return Ok(());
        }
        let origin = Origin {
            directory: &run.from.path,
            name,
        };
        let content = self.open(origin)?;
        let copy = run.into.create_file(name, attributes);
        let copy = copy.map_err(|error| over_directory(error, origin, &run.into))?;
        making.fill_from(&content, origin, &entry.metadata, copy, output)
    }

    /// Makes a file a name of the one that the earlier layer has there, if it is the same;
    /// whether it is.
    fn share(
        &self,
        name: &OsStr,
        entry: &ScannedEntry,
        attributes: &Attributes,
        output: &mut Output<'_>,
    ) -> Result<bool> {
        let (Some((unused, there)), Some(content)) = (&self.there, entry.content.get()) else {
            return Ok(false);
        };
        let size = entry.metadata.size;
        let wanted = Wanted {
            attributes,
            size,
            content,
        };
        let start = output.chunk.len();
        let found = unused.find(there, name, wanted, &mut output.chunk);
        // Whatever the reason, a copy is as good, or fails and says why.
        let found = found.filter(|_| self.run.into.adopt(name, there).is_ok());
        let Some(same) = found else {
            output.chunk.truncate(start);
            return Ok(false);
        };
        unused.use_up(&same);
        self.making.shared_files.fetch_add(1, Ordering::Relaxed);
        match self.making.is_recorded() {
            false => output.chunk.truncate(start),
            true if size > SMALL_FILE_BYTES => self.hash_again(name, size, same, output)?,
            true => {}
        }
        output.append(padding(size));
        output.flush_if_full();
        Ok(true)
    }

    /// Reads a large file for the archive: what was read to compare it is gone.
    fn hash_again(
        &self,
        name: &OsStr,
        size: u64,
        mut same: Same,
        output: &mut Output<'_>,
    ) -> Result<()> {
        let failed = |source: io::Error| CopyError::Content {
            path: self.run.into.path().join(name),
            source,
        };
        same.file.rewind().map_err(failed)?;
        match read_parts(&same.file, size, output, |_| Ok(())).map_err(failed)? {
            true => Ok(()),
            false => Err(failed(io::Error::other("a layer of the store was changed"))),
        }
    }

    /// Opens a file. One of a scan is looked at again once it is read, not before.
    fn open(&mut self, origin: Origin<'_>) -> Result<File> {
        let tree = self.making.source.tree();
        if let (Source::Scan(_), None) = (self.making.source, &self.from) {
            let opened = tree.open_directory_seen(origin.directory);
            self.from = opened.map_err(CopyError::Source)?;
        }
        let opened = match &self.from {
            Some(from) => from
                .open_seen(origin.name)
                .map_err(|error| TreeError::io("open", origin.path())(error)),
            None => tree.open_exactly(origin.path()).map(|(file, _)| file),
        };
        opened.map_err(CopyError::Source)
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
