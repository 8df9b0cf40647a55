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
//! - What the earlier layer has too much is hidden by whiteouts. They would hide what layers below
//!   both show there too: so these show nothing there, and the layer is never laid on others.
//! - The same holds for a directory in place of a file, and the other way round.
//! - None of the earlier layer's directories hides what lies below.
//! - A directory that the layers below show is made, whatever the earlier layer has.
//!
//! A copy of which that is not true is made as a whole, as ever, and so is one of which much has
//! changed: it is the next to be built upon.

mod comparer;
mod writer;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use self::comparer::Comparer;
use self::writer::Writer;
use super::earlier::Earlier;
use super::making::Making;
use super::recording::{RecordedArchive, Recorder, Recording, Unrecordable};
use super::transfer::{begin_directory, walk_of};
use super::walk::Walk;
use super::writing::Writing;
use super::{Copied, CopyError, CopyRequest, LayerCopy, Result, Source};
use crate::capture::CaptureOptions;
use crate::tree::{FileKind, Tree};

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
/// layers below must not have the earlier one among them, and both must always lie upon these.
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
            gone: Vec::new(),
            most_differences,
            recording: Recording::new(recorder, &making),
            making: &making,
            hands: writing.hands(scope),
        };
        comparer.compare(walk()?)?;
        Ok((comparer.hands.finish()?, comparer.gone))
        // The hands end when there is no comparer that gives them work.
    });
    if let Err(Ended::Unlike) = compared {
        return Err(Ended::Unlike);
    }
    // A failed hand made the comparer stop, or failed last.
    if let Some(failure) = writing.failure() {
        return Err(failure.into());
    }
    let (archive, gone) = compared?;
    if making.different.count() + gone.len() > most_differences {
        return Err(Ended::Unlike);
    }
    let mut writer = Writer {
        target,
        making: &making,
        destination: &destination,
    };
    writer.hide(&gone)?;
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
        files += usize::from(reached.file().kind() == FileKind::Regular);
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
        let mut is_alone = true;
        let visited = there.for_each_name(|other, _| is_alone &= other == name.as_bytes());
        if visited.is_err() || !is_alone {
            return Err(Ended::Unlike);
        }
        below = above;
    }
}
