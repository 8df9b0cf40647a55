//! The first half: everything is compared, and nothing made but what the layers below show.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Ended;
use crate::copy::earlier::Earlier;
use crate::copy::making::{Making, Purpose, Run};
use crate::copy::recording::{Recorder, Recording, Unrecordable};
use crate::copy::transfer::{is_plain, run_of};
use crate::copy::walk::{Listed, Reached, Walk};
use crate::copy::writing::Hands;
use crate::copy::{CopyError, Source};
use crate::tree::handles::OpenDirectory;
use crate::tree::{Attributes, FileKind, Follow, Metadata, Tree};

/// A name that is gone, in its directory.
pub(super) type Gone = (Arc<Listed>, OsString);

/// What compares.
pub(super) struct Comparer<'a, 'scope, 'env> {
    pub source: Source<'a>,
    pub target: &'a mut Tree,
    pub earlier: &'a Earlier,
    pub destination: &'a Path,
    /// Directories of the target that are there before anything is copied.
    pub shown: HashSet<PathBuf>,
    /// What the earlier layer has too much.
    pub gone: Vec<Gone>,
    pub most_differences: usize,
    pub recording: Recording<'env>,
    pub making: &'env Making<'env>,
    pub hands: Hands<'scope, 'env>,
}

impl Comparer<'_, '_, '_> {
    /// Compares all that is walked over.
    pub fn compare(&mut self, mut walk: Walk<'_>) -> Result<(), Ended> {
        let there = self.earlier.directory(self.destination);
        self.compare_names(&there.ok_or(Ended::Unlike)?, walk.directory())?;
        while let Some(reached) = walk.next()? {
            match reached.file().is_directory() {
                true => self.compare_directory(&reached, walk.directory())?,
                false => self.compare_file(&reached, &mut walk)?,
            }
            if self.making.different.count() + self.gone.len() > self.most_differences {
                return Err(Ended::Unlike);
            }
        }
        let destination = self.destination;
        self.record(|recorder, tree, bytes| recorder.end(tree, destination, bytes));
        Ok(())
    }

    /// Compares the directory that was `reached`, in which the walk is now: `inside`.
    fn compare_directory(
        &mut self,
        reached: &Reached,
        inside: Option<Arc<Listed>>,
    ) -> Result<(), Ended> {
        let inside = inside.ok_or(Ended::Unlike)?;
        let path = self.destination.join(&inside.below);
        let attributes = Attributes {
            xattrs: inside.listing.xattrs().to_vec(),
            ..self.making.attributes(&reached.file().metadata())
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
        self.compare_names(&there, Some(inside))?;
        let is_same = metadata.mode == attributes.mode && has_attributes(&metadata, &attributes);
        if !is_made && !is_same {
            self.note_difference(reached);
        }
        Ok(())
    }

    /// Finds out what the earlier layer has too much in a directory. Where it has a file for a
    /// directory, or the other way round, it is hidden by what is made; but neither that nor a
    /// whiteout may hide what layers below show.
    fn compare_names(
        &mut self,
        there: &OpenDirectory,
        directory: Option<Arc<Listed>>,
    ) -> Result<(), Ended> {
        let directory = directory.ok_or(Ended::Unlike)?;
        let path = self.destination.join(&directory.below);
        let mut other = Vec::new();
        let visited = there.for_each_name(|name, was_directory| {
            let entry = directory.listing.find(name);
            if entry.is_none_or(|entry| entry.is_directory() != was_directory) {
                other.push((OsStr::from_bytes(name).to_owned(), entry.is_none()));
            }
        });
        visited.map_err(|_| Ended::Unlike)?;
        for (name, is_gone) in other {
            if self.seen_below(&directory, &path.join(&name))?.is_some() {
                return Err(Ended::Unlike);
            }
            if is_gone {
                self.gone.push((directory.clone(), name));
            }
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
        let (name, metadata) = (reached.file().name(), reached.file().metadata());
        match metadata.kind {
            FileKind::Symlink => self.compare_link(reached, name, &metadata),
            _ if is_plain(name, &metadata) => self.compare_run(reached, walk),
            _ => Err(Ended::Unlike),
        }
    }

    /// Compares a regular file and those that follow it in its directory.
    fn compare_run(&mut self, reached: &Reached, walk: &mut Walk<'_>) -> Result<(), Ended> {
        let directory = &reached.directory;
        let path = self.destination.join(&directory.below);
        let (files, bytes) = run_of(reached, walk);
        for place in files.clone() {
            self.check_no_directory(directory, &path.join(directory.file(place).name()))?;
        }
        let first = directory.file(files.start).name();
        let last = directory.file(files.end - 1).name();
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

    fn record(
        &mut self,
        note: impl FnOnce(&mut Recorder, &Tree, &mut Vec<u8>) -> Result<(), Unrecordable>,
    ) {
        self.recording.note(self.target, self.hands.archive(), note);
    }
}

/// Whether what is `there` has the attributes that are wanted.
fn has_attributes(there: &Metadata, wanted: &Attributes) -> bool {
    (there.uid, there.gid) == (wanted.uid, wanted.gid)
        && Some(there.modified) == wanted.modified
        && wanted.xattrs.is_empty()
}
