//! Comparing the regular files of a copy with those of an earlier layer: nothing is made.
//!
//! The archive is told as if all files were made: what is the same is read in the earlier layer,
//! the rest in the source.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::earlier::{self, Wanted};
use super::making::{Making, Opening, Origin, Run};
use super::output::{Output, read_parts};
use super::walk::Listed;
use super::{CopyError, Result};
use crate::scan::{self, ScannedFile};
use crate::tree::handles::OpenDirectory;

/// A file, by its place in its directory.
pub(super) type Found = (Arc<Listed>, usize);

/// Files that the earlier layer has not, or has otherwise.
#[derive(Default)]
pub(super) struct Differences(Mutex<Vec<Found>>);

impl Differences {
    pub fn add(&self, found: Found) {
        self.files().push(found);
    }

    pub fn count(&self) -> usize {
        self.files().len()
    }

    /// Returns them all, in the order of archives.
    pub fn sorted(&self) -> Vec<Found> {
        let mut files = std::mem::take(&mut *self.files());
        let path = |(directory, place): &Found| directory.below.join(directory.file(*place).name());
        files.sort_by_cached_key(path);
        files
    }

    fn files(&self) -> MutexGuard<'_, Vec<Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The comparison of one run.
pub(super) struct RunComparison<'m, 'a> {
    making: &'m Making<'a>,
    run: &'m Run,
    from: Opening<'a>,
    /// The directory of the earlier layer.
    there: Option<&'m OpenDirectory>,
    /// Path of the directory in the target, and for a while that of a file in it.
    path: PathBuf,
}

impl<'m, 'a> RunComparison<'m, 'a> {
    /// Returns that of `run`, whose files would be made in the directory at `path`.
    pub fn of(
        making: &'m Making<'a>,
        run: &'m Run,
        path: &Path,
        there: Option<&'m OpenDirectory>,
    ) -> Self {
        RunComparison {
            making,
            run,
            from: Opening::of(making.source),
            there,
            path: path.to_path_buf(),
        }
    }

    /// Compares all files of the run.
    pub fn compare(&mut self, output: &mut Output<'_>) -> Result<()> {
        let mut files = self.run.files.clone();
        files.try_for_each(|place| self.compare_file(place, output))
    }

    fn compare_file(&mut self, place: usize, output: &mut Output<'_>) -> Result<()> {
        let file = self.run.from.file(place);
        let (name, metadata) = (file.name(), file.metadata());
        let attributes = self.making.attributes(&metadata);
        let size = metadata.size;
        self.path.push(name);
        self.making
            .begin_entry(&self.path, size, &attributes, output);
        self.path.pop();
        let start = output.chunk.len();
        let same = self.there.zip(file.content()).and_then(|found| {
            let wanted = Wanted {
                attributes: &attributes,
                size,
                content: found.1,
            };
            earlier::find(found.0, name, wanted, &mut output.chunk)
        });
        let Some(same) = same else {
            output.chunk.truncate(start);
            self.making.different.add((self.run.from.clone(), place));
            return self.record_source(file, output);
        };
        self.making
            .record_same(same, size, start, output)
            .map_err(|source| CopyError::Content {
                path: self.path.join(name),
                source,
            })
    }

    /// Reads a file that is to be copied later, for the archive.
    fn record_source(&mut self, file: ScannedFile<'_>, output: &mut Output<'_>) -> Result<()> {
        if !self.making.is_recorded() {
            return Ok(());
        }
        let metadata = file.metadata();
        let origin = Origin {
            directory: &self.run.from.path,
            name: file.name(),
        };
        let content = self.from.open(origin)?;
        let is_whole = read_parts(&content, metadata.size, output, |_| Ok(()));
        let is_whole = is_whole.map_err(|source| CopyError::Content {
            path: origin.path(),
            source,
        })?;
        if !is_whole {
            return Err(scan::changed(&origin.path()));
        }
        self.making.end_entry(&content, origin, &metadata, output)
    }
}
