//! Ignore files: what of a directory does not exist for the build.

use super::Load;
use super::dockerfile::{LARGEST_DOCKERFILE_BYTES, read_file};
use crate::error::{Class, Failure};
use kiln_engine::{ContextFiles, IgnorePatterns};
use std::path::{Path, PathBuf};

const NAME: &str = ".dockerignore";

type Read = (IgnorePatterns, Option<Load>);

/// Returns the patterns of the build context: those of `<Dockerfile>.dockerignore` if it is
/// beside the Dockerfile, else those of `.dockerignore`.
pub(super) fn of_main(
    files: &ContextFiles,
    directory: &Path,
    dockerfile: Option<&Path>,
) -> Result<Read, Failure> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(NAME);
        PathBuf::from(name)
    });
    match own.filter(|path| path.exists()) {
        Some(path) => parse(&path, &read_file(&path)?),
        None => of_directory(files, directory),
    }
}

/// Returns the patterns of the directory's own ignore file; none if there is no such file.
pub(super) fn of_directory(files: &ContextFiles, directory: &Path) -> Result<Read, Failure> {
    let path = directory.join(NAME);
    let bytes = files.read(NAME, LARGEST_DOCKERFILE_BYTES);
    let bytes =
        bytes.map_err(|error| Failure::caused(Class::Dockerfile, cannot_use(&path), &error));
    match bytes? {
        Some(bytes) => parse(&path, &bytes),
        None => Ok((IgnorePatterns::default(), None)),
    }
}

fn cannot_use(path: &Path) -> String {
    format!("cannot use the ignore file {}", path.display())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Read, Failure> {
    let text = String::from_utf8_lossy(bytes);
    let patterns = IgnorePatterns::parse(&text).map_err(|error| {
        let message = match wrong_line(&text) {
            Some(line) => format!("{}, line {line}", cannot_use(path)),
            None => cannot_use(path),
        };
        Failure::caused(Class::Dockerfile, message, &error)
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let load = Load {
        name: format!("[internal] load {name}"),
        part: "transferring context",
        bytes: bytes.len() as u64,
    };
    Ok((patterns, Some(load)))
}

/// Returns the number of the first line that is no pattern.
fn wrong_line(text: &str) -> Option<usize> {
    let mut lines = text.lines();
    let wrong = lines.position(|line| IgnorePatterns::parse(line).is_err());
    wrong.map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_wrong_pattern_is_found() {
        assert_eq!(wrong_line("a\n# !\n\n!\n"), Some(4));
        assert_eq!(wrong_line("\u{feff}!\n"), Some(1));
        assert_eq!(wrong_line("a\n!b\n"), None);
    }
}
