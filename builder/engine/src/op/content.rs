//! What an operation reads of an input: its digest, and copies of it.

use crate::StepError;
use kiln_layer::copy::{self, CopyRequest, DigestOptions, SelectedFile, Selection, Source};
use kiln_layer::pattern::IgnorePatterns;
use kiln_layer::tree::{Tree, WhiteoutFormat};
use kiln_oci::Digest;
use kiln_plan::{Copy, FileAction, ModeChange, Op, Selector};
use std::path::Path;

/// Whose files are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Those of a result: owners count.
    Result,
    /// Those of a directory of this machine: whoever owns them there, they become root's.
    Directory,
}

/// Returns the digest of what `selector` selects of `source` for `op`.
pub(crate) fn digest(
    source: Source<'_>,
    selector: &Selector,
    op: &Op,
    origin: Origin,
) -> Result<Digest, StepError> {
    let options = overridden(op, selector, origin);
    Ok(copy::content_digest(
        source,
        &selection(selector)?,
        &options,
    )?)
}

/// Returns the same digest, with the files.
pub(crate) fn listing(
    source: Source<'_>,
    selector: &Selector,
    op: &Op,
    origin: Origin,
) -> Result<(Digest, Vec<SelectedFile>), StepError> {
    let options = overridden(op, selector, origin);
    Ok(copy::content_listing(
        source,
        &selection(selector)?,
        &options,
    )?)
}

fn selection(selector: &Selector) -> Result<Selection, StepError> {
    Ok(Selection {
        sources: selector.paths.clone(),
        exclude: exclusions(&selector.exclude)?,
        parents: selector.parents,
    })
}

/// Returns the patterns that `--exclude` gave.
pub(super) fn exclusions(patterns: &[String]) -> Result<IgnorePatterns, StepError> {
    Ok(IgnorePatterns::new(patterns).map_err(copy::CopyError::from)?)
}

/// What the reader sets itself does not count: a checkout with another umask is the same.
fn overridden(op: &Op, selector: &Selector, origin: Origin) -> DigestOptions {
    let is_local = origin == Origin::Directory;
    let Op::File(file) = op else {
        return DigestOptions {
            ignore_owner: is_local,
            ignore_mode: false,
        };
    };
    let readers = || {
        file.actions
            .iter()
            .filter_map(|action| reader_of(action, selector))
    };
    DigestOptions {
        ignore_owner: is_local || readers().all(|copy| copy.owner.is_some()),
        ignore_mode: readers().all(|copy| matches!(copy.mode, Some(ModeChange::Octal(_)))),
    }
}

fn reader_of<'a>(action: &'a FileAction, selector: &Selector) -> Option<&'a Copy> {
    match action {
        FileAction::Copy(copy) if copy.sources == selector.paths => Some(copy),
        _ => None,
    }
}

/// Copies the file or directory `source` of `files`, at its path, into the empty layer
/// directory `upper`.
pub(super) fn copy_everything(
    files: Source<'_>,
    source: &str,
    upper: &Path,
    whiteouts: WhiteoutFormat,
    default_owner: Option<(u32, u32)>,
) -> Result<(), StepError> {
    let mut target = Tree::open_for_write(&[], upper, whiteouts)?;
    let request = CopyRequest {
        selection: Selection {
            parents: true,
            ..Selection::of(source)
        },
        destination: "/".to_owned(),
        default_owner,
        ..CopyRequest::default()
    };
    copy::copy_into(files, &mut target, &request)?;
    Ok(target.finish()?)
}

/// Copies the content of the directory `source` of `files` into the empty directory `target`.
pub(super) fn copy_directory(
    files: Source<'_>,
    source: &str,
    target: &Path,
    whiteouts: WhiteoutFormat,
) -> Result<(), StepError> {
    let mut target = Tree::open_for_write(&[], target, whiteouts)?;
    let request = CopyRequest {
        selection: Selection::of(source),
        destination: "/".to_owned(),
        ..CopyRequest::default()
    };
    copy::copy_into(files, &mut target, &request)?;
    Ok(target.finish()?)
}
