//! The submodules of a commit: where they lie in its tree, and where they come from.

use super::address::Address;
use super::program::Program;
use crate::FetchError;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One submodule.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// Where it lies in the tree.
    pub path: PathBuf,
    /// The commit of it.
    pub commit: String,
    /// Its remote.
    pub address: Address,
}

/// Returns the submodules of `commit`, without those of submodules.
///
/// Errors: one that lies in the tree has no address, or one that is refused.
pub(super) fn list(
    program: &Program<'_>,
    repository: &Path,
    commit: &str,
) -> Result<Vec<Module>, FetchError> {
    let links = links(program, repository, commit)?;
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let urls = urls(program, repository, commit)?;
    let module = |(path, commit): (PathBuf, String)| {
        let Some(url) = urls.get(path.as_os_str()) else {
            return Err(FetchError::Git {
                action: "check out the submodules of",
                remote: program.address.remote.clone(),
                reason: format!("`.gitmodules` has no address for `{}`", path.display()),
            });
        };
        let address = program.address.join(url);
        match address {
            Ok(address) => Ok(Module {
                path,
                commit,
                address,
            }),
            Err(source) => Err(FetchError::Submodule {
                path: path.display().to_string(),
                source: Box::new(source),
            }),
        }
    };
    links.into_iter().map(module).collect()
}

/// Returns the paths in the tree that are commits of other repositories.
fn links(
    program: &Program<'_>,
    repository: &Path,
    commit: &str,
) -> Result<Vec<(PathBuf, String)>, FetchError> {
    let mut command = program.command(Some(repository));
    command.args(["ls-tree", "-r", "-z", "--full-tree", commit]);
    let output = program.run("list the files of", &mut command)?;
    let entries = output.split(|byte| *byte == 0);
    let link = |entry: &[u8]| {
        let tab = entry.iter().position(|byte| *byte == b'\t')?;
        let facts = std::str::from_utf8(&entry[..tab]).ok()?;
        let commit = facts.strip_prefix("160000 commit ")?;
        let path = PathBuf::from(OsString::from_vec(entry[tab + 1..].to_vec()));
        Some((path, commit.to_owned()))
    };
    Ok(entries.filter_map(link).collect())
}

/// Returns the addresses in `.gitmodules`, by path.
fn urls(
    program: &Program<'_>,
    repository: &Path,
    commit: &str,
) -> Result<BTreeMap<OsString, String>, FetchError> {
    let mut command = program.command(Some(repository));
    let blob = format!("--blob={commit}:.gitmodules");
    command.args([
        "config",
        &blob,
        "-z",
        "--get-regexp",
        r"^submodule\..*\.(path|url)$",
    ]);
    let output = program.output(&mut command)?;
    let mut paths = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for entry in output.stdout.split(|byte| *byte == 0) {
        let Some(end) = entry.iter().position(|byte| *byte == b'\n') else {
            continue;
        };
        let (key, value) = (String::from_utf8_lossy(&entry[..end]), &entry[end + 1..]);
        match key.rsplit_once('.') {
            Some((name, "path")) => paths.insert(name.to_owned(), value.to_vec()),
            Some((name, _)) => urls.insert(name.to_owned(), value.to_vec()),
            None => None,
        };
    }
    let by_path = paths.into_iter().filter_map(|(name, path)| {
        let url = String::from_utf8(urls.get(&name)?.clone()).ok()?;
        Some((OsStr::from_bytes(&path).to_owned(), url))
    });
    Ok(by_path.collect())
}
