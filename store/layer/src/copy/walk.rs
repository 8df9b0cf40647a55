//! The files below a selected directory that exclusions leave.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Result, Source};
use crate::pattern::{IgnorePatterns, ParentMatch};
use crate::scan::{Scanned, ScannedFile};

/// A walk over all that is below a directory, in which a directory comes before its content.
///
/// It keeps its place in a list, not on the stack: a tree can be deeper than that.
pub(super) struct Walk<'a> {
    source: Source<'a>,
    exclude: &'a IgnorePatterns,
    open: Vec<Level>,
}

/// A directory of which a walk has seen a part.
struct Level {
    directory: Walked,
    listed: Arc<Listed>,
    next: usize,
}

/// A directory that a walk has come to, and what is seen in it.
pub(super) struct Listed {
    /// Path in the source.
    pub path: PathBuf,
    /// Path below the directory where the walk began.
    pub below: PathBuf,
    pub listing: Arc<Scanned>,
    /// Which file of which directory it is; none where the walk began.
    pub above: Option<(Arc<Listed>, usize)>,
}

impl Listed {
    /// Returns the file at `place`.
    pub fn file(&self, place: usize) -> ScannedFile<'_> {
        self.listing.file(place)
    }
}

/// A file that a walk has come to.
pub(super) struct Reached {
    /// The directory that it is in.
    pub directory: Arc<Listed>,
    /// Which of the files there it is.
    pub place: usize,
    /// What it shows, if it is a directory.
    pub inside: Option<Arc<Scanned>>,
}

impl Reached {
    /// Returns it.
    pub fn file(&self) -> ScannedFile<'_> {
        self.directory.file(self.place)
    }

    /// Returns its path in the source.
    pub fn path(&self) -> PathBuf {
        self.directory.path.join(self.file().name())
    }

    /// Returns its path below the directory where the walk began.
    pub fn below(&self) -> PathBuf {
        self.directory.below.join(self.file().name())
    }
}

impl<'a> Walk<'a> {
    pub fn new(source: Source<'a>, exclude: &'a IgnorePatterns, start: Walked) -> Result<Self> {
        let mut walk = Self {
            source,
            exclude,
            open: Vec::new(),
        };
        let listing = start.listing(source, exclude, None)?;
        walk.push(start, PathBuf::new(), listing, None);
        Ok(walk)
    }

    fn push(
        &mut self,
        directory: Walked,
        below: PathBuf,
        listing: Arc<Scanned>,
        above: Option<(Arc<Listed>, usize)>,
    ) {
        let listed = Arc::new(Listed {
            path: directory.path.clone(),
            below,
            listing,
            above,
        });
        self.open.push(Level {
            directory,
            listed,
            next: 0,
        });
    }

    /// Returns the directory in which the walk is; none once it is over.
    pub fn directory(&self) -> Option<Arc<Listed>> {
        self.open.last().map(|level| level.listed.clone())
    }

    /// Returns the next file; a directory's content comes next.
    pub fn next(&mut self) -> Result<Option<Reached>> {
        while let Some(level) = self.open.last_mut() {
            let place = level.next;
            if place == level.listed.listing.len() {
                self.open.pop();
                continue;
            }
            level.next += 1;
            let directory = level.listed.clone();
            let file = directory.file(place);
            let mut inside = None;
            if file.is_directory() {
                let walked = level.directory.enter(self.exclude, file.name());
                let listing = walked.listing(self.source, self.exclude, Some(file))?;
                inside = Some(listing.clone());
                let above = (directory.clone(), place);
                let below = directory.below.join(file.name());
                self.push(walked, below, listing, Some(above));
            }
            return Ok(Some(Reached {
                directory,
                place,
                inside,
            }));
        }
        Ok(None)
    }

    /// Goes on over the files that follow in the directory of the latest one, which is none, as
    /// long as they are `wanted`; returns their places.
    pub fn next_while(&mut self, mut wanted: impl FnMut(ScannedFile<'_>) -> bool) -> Range<usize> {
        let Some(level) = self.open.last_mut() else {
            return 0..0;
        };
        let start = level.next;
        let files = level.listed.listing.len();
        while level.next < files && wanted(level.listed.file(level.next)) {
            level.next += 1;
        }
        start..level.next
    }
}

/// A directory that is walked.
pub(super) struct Walked {
    /// Path in the source.
    pub path: PathBuf,
    /// Path that exclusions are compared with.
    relative: PathBuf,
    matched: ParentMatch,
}

impl Walked {
    /// Begins a walk at `path`, where exclusions see `relative`.
    pub fn start(exclude: &IgnorePatterns, path: &Path, relative: &Path) -> Self {
        let mut matched = exclude.root();
        let mut above: Vec<_> = relative.ancestors().collect();
        above.reverse();
        for directory in above.iter().filter(|path| !path.as_os_str().is_empty()) {
            matched = exclude.enter(directory, &matched);
        }
        Self {
            path: path.to_path_buf(),
            relative: relative.to_path_buf(),
            matched,
        }
    }

    /// Goes on in the directory `name`.
    fn enter(&self, exclude: &IgnorePatterns, name: &OsStr) -> Self {
        let relative = self.relative.join(name);
        let matched = match exclude.is_empty() {
            true => ParentMatch::default(),
            false => exclude.enter(&relative, &self.matched),
        };
        Self {
            path: self.path.join(name),
            relative,
            matched,
        }
    }

    /// Returns the files in the directory that are not excluded, sorted by name. An excluded
    /// directory counts if something in it is included again. `file` is what is known of it.
    fn listing(
        &self,
        source: Source<'_>,
        exclude: &IgnorePatterns,
        file: Option<ScannedFile<'_>>,
    ) -> Result<Arc<Scanned>> {
        let listing = source.listing(&self.path, file)?;
        if exclude.is_empty() {
            return Ok(listing);
        }
        let shown = listing.filtered(|file| self.shows(source, exclude, file));
        shown.map(Arc::new)
    }

    fn shows(
        &self,
        source: Source<'_>,
        exclude: &IgnorePatterns,
        file: ScannedFile<'_>,
    ) -> Result<bool> {
        let relative = self.relative.join(file.name());
        if !exclude.excludes(&relative, &self.matched) {
            return Ok(true);
        }
        if !file.is_directory() || exclude.can_prune(&relative) {
            return Ok(false);
        }
        let inside = self.enter(exclude, file.name());
        let listing = inside.listing(source, exclude, Some(file))?;
        Ok(!listing.is_empty())
    }
}
