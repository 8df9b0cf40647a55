//! From what a `COPY` names to the files that are there.

use std::path::{Component, Path, PathBuf};

use super::{CopyError, Result, Selection};
use crate::pattern::{Glob, has_wildcard, unescape};
use crate::tree::{Entry, FileKind, Follow, Metadata, Tree};

/// A file that a source names, links at its end being followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedSource {
    /// Path in the source tree, free of links.
    pub path: PathBuf,
    /// Path below the destination, if that is a directory: the name as selected, or what
    /// follows the pivot when parents are kept. Empty when the root is selected.
    pub name: PathBuf,
    /// What is known of the file.
    pub metadata: Metadata,
    /// Directory whose paths `name`'s parents are, when parents are kept.
    pub(super) pivot: Option<PathBuf>,
}

impl ResolvedSource {
    /// Whether the content of a directory is copied, rather than the directory.
    pub(super) fn is_content(&self) -> bool {
        self.metadata.is_directory() && (self.pivot.is_none() || self.name.as_os_str().is_empty())
    }
}

/// Returns the files that `selection` names, in its order, those of a pattern sorted.
///
/// Exclusions are for files that are named or match, too: by name, or by the path that is kept.
///
/// Errors: a path without wildcards that is missing or ignored, an invalid pattern.
pub fn resolve_sources(source: &Tree, selection: &Selection) -> Result<Vec<ResolvedSource>> {
    let mut resolved = Vec::new();
    for written in &selection.sources {
        if selection.parents {
            with_parents(source, written, selection, &mut resolved)?;
        } else {
            by_name(source, written, selection, &mut resolved)?;
        }
    }
    Ok(resolved)
}

fn by_name(
    source: &Tree,
    written: &str,
    selection: &Selection,
    resolved: &mut Vec<ResolvedSource>,
) -> Result<()> {
    let pattern = clean(written);
    let is_pattern = has_wildcard(&pattern);
    for selected in expand(source, Path::new(""), &pattern, false)? {
        let node = source
            .lookup(&selected, Follow::All)
            .map_err(CopyError::Source)?;
        let Some(node) = node else {
            return Err(missing(source, written, &selected)?);
        };
        let name = selected.file_name().map(PathBuf::from).unwrap_or_default();
        // A directory that is named is not meant by what excludes things in it.
        let is_tested = is_pattern || !node.metadata.is_directory();
        if is_tested && selection.exclude.matches(&name) {
            continue;
        }
        resolved.push(ResolvedSource {
            path: node.path,
            name,
            metadata: node.metadata,
            pivot: None,
        });
    }
    Ok(())
}

fn with_parents(
    source: &Tree,
    written: &str,
    selection: &Selection,
    resolved: &mut Vec<ResolvedSource>,
) -> Result<()> {
    let (base, pattern) = written.split_once("/./").unwrap_or(("", written));
    let pattern = clean(pattern);
    for base in expand(source, Path::new(""), &clean(base), false)? {
        let Some(base) = source
            .lookup(&base, Follow::All)
            .map_err(CopyError::Source)?
        else {
            return Err(missing(source, written, &base)?);
        };
        for selected in expand(source, &base.path, &pattern, true)? {
            let node = source
                .lookup(&selected, Follow::ParentsOnly)
                .map_err(CopyError::Source)?;
            let Some(node) = node else {
                return Err(missing(source, written, &selected)?);
            };
            let name = selected.strip_prefix(&base.path).unwrap_or(&selected);
            let is_excluded = match node.metadata.is_directory() {
                true => selection.exclude.can_prune(name),
                false => selection.exclude.matches(name),
            };
            if is_excluded {
                continue;
            }
            resolved.push(ResolvedSource {
                name: name.to_path_buf(),
                path: node.path,
                metadata: node.metadata,
                pivot: Some(base.path.clone()),
            });
        }
    }
    Ok(())
}

/// Returns why a selected path is not there.
fn missing(source: &Tree, written: &str, selected: &Path) -> Result<CopyError> {
    let hidden = |path: &Path| source.ignore().is_some_and(|ignore| ignore.matches(path));
    let link = source
        .lookup(selected, Follow::ParentsOnly)
        .map_err(CopyError::Source)?
        .filter(|node| node.metadata.kind == FileKind::Symlink);
    if let Some(link) = link {
        let target = source.read_link(&link.path).map_err(CopyError::Source)?;
        return Ok(CopyError::DanglingLink {
            path: selected.to_path_buf(),
            target,
        });
    }
    let path = written.to_owned();
    if hidden(selected) && source.exists_ignored(selected) {
        return Ok(CopyError::SourceIgnored { path });
    }
    Ok(CopyError::SourceMissing { path })
}

/// A path below the root: `.`, `..` and empty components resolved as text.
fn clean(written: &str) -> String {
    let mut kept = Vec::new();
    for component in written.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    kept.join("/")
}

/// Returns the paths below `base` that `pattern` matches; one without wildcards as it is.
/// `**` matches any number of directories where `double_star` says so.
fn expand(source: &Tree, base: &Path, pattern: &str, double_star: bool) -> Result<Vec<PathBuf>> {
    if !has_wildcard(pattern) {
        return Ok(vec![join(base, &unescape(pattern))]);
    }
    let components: Vec<&str> = pattern.split('/').collect();
    let literal = components
        .iter()
        .take_while(|component| !has_wildcard(component))
        .count();
    let prefix = unescape(&components[..literal].join("/"));
    let start = join(base, &prefix);
    let rest = &components[literal..];
    let mut found = Vec::new();
    // Links on the way to the first wildcard are followed, none after it.
    let directory = source
        .lookup(&start, Follow::All)
        .map_err(CopyError::Source)?;
    let Some(directory) = directory else {
        return Err(missing(source, pattern, &start)?);
    };
    if !directory.metadata.is_directory() {
        return Ok(found);
    }
    if double_star && rest.iter().any(|component| component.contains("**")) {
        let glob = Glob::with_double_star(&rest.join("/"))?;
        search(source, &start, &glob, &mut found)?;
    } else {
        let globs = rest.iter().map(|component| Glob::new(component));
        let globs: Vec<Glob> = globs.collect::<Result<_, _>>()?;
        descend(source, &start, &globs, &mut found)?;
    }

    Ok(found)
}

fn join(base: &Path, relative: &str) -> PathBuf {
    match relative.is_empty() {
        true => base.to_path_buf(),
        false => base.join(relative),
    }
}

fn entries(source: &Tree, directory: &Path) -> Result<Vec<Entry>> {
    source.read_dir(directory).map_err(CopyError::Source)
}

/// Finds what matches one glob per component.
fn descend(source: &Tree, at: &Path, globs: &[Glob], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((first, rest)) = globs.split_first() else {
        found.push(at.to_path_buf());
        return Ok(());
    };
    for entry in entries(source, at)? {
        let enters = rest.is_empty() || entry.metadata.is_directory();
        if enters && first.matches(&entry.name.to_string_lossy()) {
            descend(source, &at.join(&entry.name), rest, found)?;
        }
    }
    Ok(())
}

/// Finds what matches one glob over the whole path; what lies in a match comes with it.
fn search(source: &Tree, start: &Path, glob: &Glob, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut unread = vec![PathBuf::new()];
    let first = found.len();
    while let Some(relative) = unread.pop() {
        for entry in entries(source, &start.join(&relative))? {
            let path = relative.join(&entry.name);
            if glob.matches(&path.to_string_lossy()) {
                found.push(start.join(&path));
            } else if entry.metadata.is_directory() {
                unread.push(path);
            }
        }
    }
    found[first..].sort_unstable();
    Ok(())
}

/// The directories above a source that is copied with its parents: the path in the source
/// and the path below the destination, topmost first.
pub(super) fn parents_of(resolved: &ResolvedSource) -> Vec<(PathBuf, PathBuf)> {
    let Some(pivot) = &resolved.pivot else {
        return Vec::new();
    };
    let mut names = PathBuf::new();
    let mut parents = Vec::new();
    let above = resolved.name.parent().unwrap_or(Path::new(""));
    for component in above.components() {
        if let Component::Normal(name) = component {
            names.push(name);
            parents.push((pivot.join(&names), names.clone()));
        }
    }
    parents
}
