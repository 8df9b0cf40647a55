//! Addresses of what lies elsewhere: files fetched by HTTP, checkouts of git repositories.
//!
//! | form | means |
//! |---|---|
//! | `https://host/path`, `http://host/path` | one file |
//! | `https://host/path.git`, `http://…` | a git repository: the path ends in `.git` |
//! | `ssh://…`, `git://…`, `user@host:path` | a git repository |
//! | `github.com/owner/name` | a git repository, for contexts only |
//!
//! A repository's address may end in `#reference:directory`, or have a query (`?ref=…&subdir=…`);
//! what both say must agree. Everything here is text: nothing is looked up.

mod commit;
mod error;
mod query;
mod split;
#[cfg(test)]
mod tests;

pub use commit::checksum;
pub use error::RemoteError;

use crate::{GitSource, GitTimes};
use split::Parts;
use std::borrow::Cow;

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A checkout of a git repository.
    Git(GitSource),
    /// One file.
    Http {
        /// The address as given.
        url: String,
    },
}

impl Remote {
    /// Returns what `text` names; nothing if it is no address but a path, as in `ADD`.
    ///
    /// Errors: what the address of a git repository asks for makes no sense. What it lacks is
    /// for [`GitSource::check`] to say, once all that is given elsewhere is in it.
    pub fn parse(text: &str) -> Option<Result<Self, RemoteError>> {
        let parts = split::split(text)?;
        if parts.is_file() {
            let url = text.to_owned();
            return Some(Ok(Remote::Http { url }));
        }
        Some(git(&parts).map(Remote::Git))
    }

    /// Returns [`Remote::parse`] of the address of a build context, where `github.com/…`
    /// stands for a repository there.
    pub fn parse_context(text: &str) -> Option<Result<Self, RemoteError>> {
        match text.starts_with("github.com/") {
            true => {
                let address = format!("https://{text}");
                let parts = split::split(&address)?;
                Some(git(&parts).map(Remote::Git))
            }
            false => Remote::parse(text),
        }
    }
}

fn git(parts: &Parts<'_>) -> Result<GitSource, RemoteError> {
    split::check_remote(parts)?;
    let mut git = GitSource {
        remote: parts.remote.to_owned(),
        ..GitSource::default()
    };
    if let Some(fragment) = parts.fragment {
        let fragment = match parts.is_url() {
            true => percent_decoded(fragment).unwrap_or_else(|| fragment.to_owned()),
            false => fragment.to_owned(),
        };
        let (reference, directory) = fragment.split_once(':').unwrap_or((&fragment, ""));
        git.reference = not_empty(reference);
        git.subdirectory = not_empty(directory);
    }
    query::apply(&mut git, parts.query.unwrap_or_default())?;
    complete(git)
}

/// Checks what the parts say together, and brings each into one form.
fn complete(mut git: GitSource) -> Result<GitSource, RemoteError> {
    if let Some(reference) = &git.reference {
        commit::check_reference(reference)?;
    }
    git.subdirectory = match &git.subdirectory {
        Some(directory) => clean_directory(directory)?,
        None => None,
    };
    git.check_commits()?;
    Ok(git)
}

impl GitSource {
    /// Returns the commit that the address pins: the one demanded, else the reference if that
    /// is a whole commit. In lower case.
    pub fn commit(&self) -> Option<&str> {
        let whole = |text: &&str| commit::is_whole(text);
        let demanded = self.checksum.as_deref().filter(whole);
        demanded.or_else(|| self.reference.as_deref().filter(whole))
    }

    /// Checks that what is demanded can be had together.
    ///
    /// Errors: a reference that is another commit than the demanded one; a commit to be
    /// fetched by its name, but none is given.
    pub fn check(&self) -> Result<(), RemoteError> {
        self.check_commits()?;
        match self.fetch_by_commit && self.commit().is_none() {
            true => Err(RemoteError::FetchWithoutCommit),
            false => Ok(()),
        }
    }

    fn check_commits(&self) -> Result<(), RemoteError> {
        let whole = |text: &&String| commit::is_whole(text);
        let reference = self.reference.as_ref().filter(whole);
        match (reference, &self.checksum) {
            (Some(reference), Some(checksum)) if !reference.starts_with(checksum.as_str()) => {
                Err(RemoteError::Conflict {
                    what: "commit",
                    first: reference.clone(),
                    second: checksum.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Default for GitSource {
    /// Returns a source without address: HEAD, all of it, with submodules, without `.git`.
    fn default() -> Self {
        GitSource {
            remote: String::new(),
            reference: None,
            subdirectory: None,
            checksum: None,
            keep_git_directory: false,
            submodules: true,
            times: GitTimes::Checkout,
            fetch_by_commit: false,
        }
    }
}

/// Returns the last component of the path of `url`; `None` where there is none.
pub fn file_name(url: &str) -> Option<String> {
    let address = url.split(['#', '?']).next().unwrap_or(url);
    let (_, after_scheme) = address.split_once("://")?;
    let (_, path) = after_scheme.split_once('/')?;
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    let name = percent_decoded(name).unwrap_or_else(|| name.to_owned());
    let is_name = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    is_name.then_some(name)
}

/// Returns `address` without the user and password it may hold: for messages, logs, history.
///
/// A user alone (`git@`) is no secret and stays, except for HTTP, where it may be a token.
pub fn redacted(address: &str) -> Cow<'_, str> {
    let Some((before, user, after)) = around_user(address) else {
        return Cow::Borrowed(address);
    };
    let scheme = before.to_ascii_lowercase();
    let is_http = scheme.ends_with("http") || scheme.ends_with("https");
    match is_http || user.contains(':') {
        true => Cow::Owned(format!("{before}://xxxxx@{after}")),
        false => Cow::Borrowed(address),
    }
}

/// Returns `address` without the user that it names: what it is whoever asks.
pub fn anonymous(address: &str) -> String {
    match around_user(address) {
        Some((before, _, after)) => format!("{before}://{after}"),
        None => address.to_owned(),
    }
}

/// Returns what stands before `://`, the user, and what stands behind its `@`.
fn around_user(address: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (user, _) = authority.rsplit_once('@')?;
    Some((before, user, &rest[user.len() + 1..]))
}

/// Returns `path` below the repository's root, cleaned; nothing for the root itself.
fn clean_directory(path: &str) -> Result<Option<String>, RemoteError> {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if components.pop().is_none() => {
                let path = path.to_owned();
                return Err(RemoteError::Directory { path });
            }
            ".." => {}
            _ => components.push(component),
        }
    }
    Ok(not_empty(&components.join("/")))
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns `text` without percent signs; nothing if what they make is malformed.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}
