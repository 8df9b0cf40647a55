//! The query of a git address: `?key=value&…`.
//!
//! | key | means |
//! |---|---|
//! | `ref` | branch, tag, commit or whole reference |
//! | `branch`, `tag` | a branch, a tag, and nothing else of that name |
//! | `subdir` | directory that becomes the root |
//! | `checksum`, `commit` | commit, or beginning of it, that it must be |
//! | `keep-git-dir`, `submodules` | whether `.git` stays, whether submodules are checked out |
//! | `mtime` | `checkout` or `commit`: the time of the files |
//! | `fetch-by-commit` | whether the commit is asked for, not the reference |

use super::{RemoteError, commit, not_empty, percent_decoded};
use crate::{GitSource, GitTimes};

const KNOWN: [&str; 10] = [
    "ref",
    "branch",
    "tag",
    "subdir",
    "checksum",
    "commit",
    "keep-git-dir",
    "submodules",
    "mtime",
    "fetch-by-commit",
];

/// Returns the keys, for people.
pub(super) fn known() -> String {
    KNOWN.map(|key| format!("`{key}`")).join(", ")
}

/// Sets what `query` says in `git`.
pub(super) fn apply(git: &mut GitSource, query: &str) -> Result<(), RemoteError> {
    let mut seen: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key), decoded(value));
        if seen.contains(&key) {
            return Err(RemoteError::Repeated { key });
        }
        set(git, &key, &value)?;
        seen.push(key);
    }
    Ok(())
}

/// In a query a plus sign is a space.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decoded(&text).unwrap_or(text)
}

fn set(git: &mut GitSource, key: &str, value: &str) -> Result<(), RemoteError> {
    let key_text = || key.to_owned();
    if !KNOWN.contains(&key) {
        return Err(RemoteError::UnknownKey { key: key_text() });
    }
    let is_flag = matches!(key, "keep-git-dir" | "submodules" | "fetch-by-commit");
    if value.is_empty() && !is_flag {
        return Err(RemoteError::NoValue { key: key_text() });
    }
    match key {
        "ref" => set_once(&mut git.reference, value, "reference"),
        "branch" => set_named(&mut git.reference, "refs/heads/", value),
        "tag" => set_named(&mut git.reference, "refs/tags/", value),
        "subdir" => set_once(&mut git.subdirectory, value, "directory"),
        "checksum" | "commit" => set_once(&mut git.checksum, &commit::checksum(value)?, "commit"),
        "mtime" => {
            git.times = times(value)?;
            Ok(())
        }
        _ => {
            let flag = flag(key, value)?;
            match key {
                "keep-git-dir" => git.keep_git_directory = flag,
                "submodules" => git.submodules = flag,
                _ => git.fetch_by_commit = flag,
            }
            Ok(())
        }
    }
}

/// A branch or tag given with its folder is not given a second one.
fn set_named(field: &mut Option<String>, folder: &str, value: &str) -> Result<(), RemoteError> {
    let whole = match value.starts_with(folder) {
        true => value.to_owned(),
        false => format!("{folder}{value}"),
    };
    // `#v1` and `?tag=v1` agree; the latter says more.
    if field.as_deref() == Some(value) {
        *field = None;
    }
    set_once(field, &whole, "reference")
}

fn set_once(
    field: &mut Option<String>,
    value: &str,
    what: &'static str,
) -> Result<(), RemoteError> {
    match field {
        Some(known) if known != value => Err(RemoteError::Conflict {
            what,
            first: known.clone(),
            second: value.to_owned(),
        }),
        _ => {
            *field = not_empty(value);
            Ok(())
        }
    }
}

fn flag(key: &str, value: &str) -> Result<bool, RemoteError> {
    match value.to_lowercase().as_str() {
        "" | "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(RemoteError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: "true or false",
        }),
    }
}

fn times(value: &str) -> Result<GitTimes, RemoteError> {
    match value {
        "checkout" => Ok(GitTimes::Checkout),
        "commit" => Ok(GitTimes::Commit),
        _ => Err(RemoteError::Value {
            key: "mtime".to_owned(),
            value: value.to_owned(),
            expected: "checkout or commit",
        }),
    }
}
