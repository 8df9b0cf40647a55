//! The archive of a layer, found out while a copy fills the layer.
//!
//! A copy mostly makes files in the order that the layer's archive has. Then the bytes of the
//! archive are hashed as the files are made, and nobody reads the layer again. What is made out of
//! order, or may not have become what was asked for, ends the recording: then the layer must be
//! captured ([`crate::capture`]), which is what a recording must always agree with.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;

use super::making::Making;
use crate::archive::{self, ArchiveError, Entry, EntryKind, LayerWriter, Xattrs};
use crate::capture::CaptureOptions;
use crate::digest::DigestWriter;
use crate::tree::{Attributes, Timestamp, Tree};

/// Every file system keeps times up to this one, in seconds since 1970.
const LATEST_SECONDS: i64 = i32::MAX as i64;

/// The archive of a layer that a copy filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedArchive {
    /// The digest of the archive: the layer's diff ID.
    pub digest: Digest,
    /// The size of the archive in bytes.
    pub size: u64,
}

/// Hashes an archive.
pub(super) struct ArchiveHash(DigestWriter<io::Sink>);

impl ArchiveHash {
    pub fn new() -> Self {
        ArchiveHash(DigestWriter::new(io::sink()))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        // A sink takes everything.
        let _ = self.0.write_all(bytes);
    }

    pub fn finish(mut self) -> RecordedArchive {
        self.update(archive::ARCHIVE_END);
        let (_, digest, size) = self.0.finish();
        RecordedArchive { digest, size }
    }
}

/// What is recorded of a copy so far.
pub(super) struct Recorder {
    options: CaptureOptions,
    /// The latest entry; all directories above it have one.
    last: PathBuf,
}

/// The recording of a copy, until it is given up.
pub(super) struct Recording<'a> {
    recorder: Option<Recorder>,
    making: &'a Making<'a>,
}

impl<'a> Recording<'a> {
    pub fn new(recorder: Option<Recorder>, making: &'a Making<'a>) -> Self {
        Recording { recorder, making }
    }

    /// Lets the recorder take note of something in `target`, and append to `bytes`, unless the
    /// recording was given up.
    pub fn note(
        &mut self,
        target: &Tree,
        bytes: &mut Vec<u8>,
        note: impl FnOnce(&mut Recorder, &Tree, &mut Vec<u8>) -> Result<(), Unrecordable>,
    ) {
        let recorder = self.recorder.as_mut().filter(|_| self.making.is_recorded());
        if let Some(recorder) = recorder
            && note(recorder, target, bytes).is_err()
        {
            self.making.stop_recording();
        }
    }
}

/// The recording cannot go on.
pub(super) struct Unrecordable;

impl From<ArchiveError> for Unrecordable {
    fn from(_: ArchiveError) -> Self {
        Unrecordable
    }
}

impl Recorder {
    /// Returns one for the empty layer that `target` writes to.
    pub fn new(options: CaptureOptions, target: &Tree) -> Result<Self, Unrecordable> {
        // What its root says may be inherited by all in it.
        target.plain_upper(Path::new("")).ok_or(Unrecordable)?;
        Ok(Recorder {
            options,
            last: PathBuf::new(),
        })
    }

    /// Takes note that the next entry is at `path`, and appends those of the directories above
    /// it that have none yet to `bytes`.
    pub fn advance(
        &mut self,
        target: &Tree,
        path: &Path,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let is_reserved = name.starts_with(archive::WHITEOUT_PREFIX.as_bytes());
        // The order of archives is that of paths, component by component.
        if path.is_absolute() || is_reserved || path <= self.last.as_path() {
            return Err(Unrecordable);
        }
        let above = path.parent().unwrap_or(Path::new(""));
        let missing: Vec<&Path> = above
            .ancestors()
            .take_while(|directory| !self.last.starts_with(directory))
            .collect();
        for directory in missing.into_iter().rev() {
            self.add_directory(target, directory, bytes)?;
        }
        self.last.clear();
        self.last.push(path);
        Ok(())
    }

    /// Takes note that the next entries are files in the directory at `path`, in the order of their
    /// names, from the `first` to the `last` one.
    pub fn advance_over(
        &mut self,
        target: &Tree,
        path: &Path,
        (first, last): (&OsStr, &OsStr),
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        self.advance(target, &path.join(first), bytes)?;
        self.last.set_file_name(last);
        Ok(())
    }

    /// Takes note of the directory at `path`, which was made with `attributes`: neither was there
    /// anything, nor do they say what the system may refuse or what is hidden below.
    pub fn new_directory(
        &mut self,
        target: &Tree,
        path: &Path,
        attributes: &Attributes,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        if has_special_bits(attributes) {
            return self.directory(target, path, bytes);
        }
        self.advance(target, path, bytes)?;
        let entry = entry(self.options, path, EntryKind::Directory, attributes)?;
        Ok(LayerWriter::new(bytes).append_header(&entry)?)
    }

    /// Takes note of the directory at `path`, which was made or given attributes.
    pub fn directory(
        &mut self,
        target: &Tree,
        path: &Path,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        // The root has no entry.
        if path.as_os_str().is_empty() {
            return match self.last.as_os_str().is_empty() {
                true => target.plain_upper(path).map(drop).ok_or(Unrecordable),
                false => Ok(()),
            };
        }
        self.advance(target, path, bytes)?;
        self.add_directory(target, path, bytes)
    }

    /// Takes note that no more comes. A `destination` that was made and got nothing has no entry
    /// yet.
    pub fn end(
        &mut self,
        target: &Tree,
        destination: &Path,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        let is_missing = target.is_in_upper(destination) && !self.last.starts_with(destination);
        match is_missing {
            true => self.directory(target, destination, bytes),
            false => Ok(()),
        }
    }

    /// Appends the entry of a directory as it is now, but for its time.
    fn add_directory(
        &self,
        target: &Tree,
        path: &Path,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        let (attributes, is_opaque) = target.plain_upper(path).ok_or(Unrecordable)?;
        let entry = entry(self.options, path, EntryKind::Directory, &attributes)?;
        let mut writer = LayerWriter::new(bytes);
        writer.append_header(&entry)?;
        if is_opaque {
            writer.append_whiteout(&path.join(archive::OPAQUE_MARKER))?;
        }
        Ok(())
    }

    /// Appends the entry of a symbolic link.
    pub fn link(
        &mut self,
        target: &Tree,
        (path, says): (&Path, &Path),
        attributes: &Attributes,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        // Where owners are noted beside files, links cannot have a note.
        if target.has_notes() && (attributes.uid, attributes.gid) != (0, 0) {
            return Err(Unrecordable);
        }
        self.advance(target, path, bytes)?;
        let kind = EntryKind::Symlink {
            target: says.to_owned(),
        };
        let attributes = Attributes {
            mode: 0o777,
            xattrs: Vec::new(),
            ..attributes.clone()
        };
        let entry = entry(self.options, path, kind, &attributes)?;
        Ok(LayerWriter::new(bytes).append_header(&entry)?)
    }
}

/// Headers of regular files in the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileHeaders {
    options: CaptureOptions,
}

impl FileHeaders {
    /// Returns those of an archive that is captured with `options`.
    pub fn new(options: CaptureOptions) -> Self {
        FileHeaders { options }
    }

    /// Appends the header of a regular file of `size` bytes to `bytes`.
    pub fn append(
        &self,
        path: &Path,
        size: u64,
        attributes: &Attributes,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        if has_special_bits(attributes) {
            return Err(Unrecordable);
        }
        let entry = entry(self.options, path, EntryKind::Regular { size }, attributes)?;
        Ok(LayerWriter::new(bytes).append_header(&entry)?)
    }
}

/// Whether such bits may be given depends on who asks.
fn has_special_bits(attributes: &Attributes) -> bool {
    attributes.mode & 0o7000 != 0
}

fn entry(
    options: CaptureOptions,
    path: &Path,
    kind: EntryKind,
    attributes: &Attributes,
) -> Result<Entry, Unrecordable> {
    let is_kept = |time: &Timestamp| (0..=LATEST_SECONDS).contains(&time.seconds);
    let modified = attributes.modified.filter(is_kept).ok_or(Unrecordable)?;
    if !attributes.xattrs.is_empty() {
        return Err(Unrecordable);
    }
    let latest = options.clamp_mtime_seconds.unwrap_or(i64::MAX);
    Ok(Entry {
        path: path.to_owned(),
        kind,
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: modified.seconds.min(latest),
        xattrs: Xattrs::new(),
    })
}
