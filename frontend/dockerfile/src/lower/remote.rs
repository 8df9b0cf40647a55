//! Sources of ADD that lie elsewhere: HTTP addresses and git repositories.

use super::path;
use kiln_plan::GitSource;

/// Where a source of ADD lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// In the build context.
    None,
    Http(String),
    Git(GitSource),
}

/// Returns where `source` lies. Errors: what is wrong with its address, in words.
pub(super) fn classify(source: &str) -> Result<Remote, String> {
    let lower = source.to_lowercase();
    let is_http = lower.starts_with("http://") || lower.starts_with("https://");
    let is_git = ["git://", "ssh://", "git@"]
        .iter()
        .any(|start| lower.starts_with(start));
    if is_git || (is_http && names_repository(source)) {
        return git(source).map(Remote::Git);
    }
    Ok(match is_http {
        true => Remote::Http(source.to_owned()),
        false => Remote::None,
    })
}

/// Returns whether the path of an HTTP address ends in `.git`.
fn names_repository(source: &str) -> bool {
    let address = source.split(['#', '?']).next().unwrap_or(source);
    address.ends_with(".git")
}

/// Returns the last component of the path of `url`; `None` where there is none.
pub(super) fn file_name(url: &str) -> Option<String> {
    let address = url.split(['#', '?']).next().unwrap_or(url);
    let (_, after_scheme) = address.split_once("://")?;
    let (_, path) = after_scheme.split_once('/')?;
    let name = path::base_name(path);
    let name = percent_decoded(name).unwrap_or_else(|| name.to_owned());
    let is_name = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    is_name.then_some(name)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Returns the checkout that `address` names: `remote[#reference[:directory]]`, or with a query.
fn git(address: &str) -> Result<GitSource, String> {
    let (address, fragment) = match address.split_once('#') {
        Some((address, fragment)) => (address, Some(fragment)),
        None => (address, None),
    };
    let (remote, query) = match address.split_once('?') {
        Some((remote, query)) => (remote, Some(query)),
        None => (address, None),
    };
    let mut git = GitSource {
        remote: remote.to_owned(),
        reference: None,
        subdirectory: None,
        checksum: None,
        keep_git_directory: false,
        submodules: true,
    };
    if let Some(fragment) = fragment {
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        git.reference = not_empty(reference);
        git.subdirectory = not_empty(directory);
    }
    for pair in query.unwrap_or_default().split('&') {
        if !pair.is_empty() {
            apply(&mut git, pair)?;
        }
    }
    git.subdirectory = git.subdirectory.map(|path| path::clean_relative(&path));
    git.subdirectory = git.subdirectory.filter(|path| path != ".");
    Ok(git)
}

fn apply(git: &mut GitSource, pair: &str) -> Result<(), String> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let value = percent_decoded(value).unwrap_or_else(|| value.to_owned());
    match key {
        "ref" => set_once(&mut git.reference, &value, "reference"),
        "tag" => set_once(
            &mut git.reference,
            &format!("refs/tags/{value}"),
            "reference",
        ),
        "branch" => set_once(
            &mut git.reference,
            &format!("refs/heads/{value}"),
            "reference",
        ),
        "subdir" => set_once(&mut git.subdirectory, &value, "directory"),
        "checksum" | "commit" => set_once(&mut git.checksum, &value, "commit"),
        "keep-git-dir" => {
            git.keep_git_directory = flag(key, &value)?;
            Ok(())
        }
        "submodules" => {
            git.submodules = flag(key, &value)?;
            Ok(())
        }
        _ => Err(format!("git addresses have no option `{key}`")),
    }
}

fn flag(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("`{value}` of `{key}` is neither true nor false")),
    }
}

fn set_once(field: &mut Option<String>, value: &str, what: &str) -> Result<(), String> {
    match field {
        Some(known) if known != value => Err(format!("the address names two {what}s of git")),
        _ => {
            *field = not_empty(value);
            Ok(())
        }
    }
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(remote: &str) -> GitSource {
        GitSource {
            remote: remote.into(),
            reference: None,
            subdirectory: None,
            checksum: None,
            keep_git_directory: false,
            submodules: true,
        }
    }

    #[test]
    fn sources_are_told_apart() {
        let git = |remote: &str| Ok(Remote::Git(repository(remote)));
        for (source, expected) in [
            ("src/app.git", Ok(Remote::None)),
            (
                "https://example.com/a.tar.gz",
                Ok(Remote::Http("https://example.com/a.tar.gz".into())),
            ),
            (
                "https://example.com/a.git",
                git("https://example.com/a.git"),
            ),
            ("git@example.com:a", git("git@example.com:a")),
            ("ssh://git@example.com/a", git("ssh://git@example.com/a")),
        ] {
            assert_eq!(classify(source), expected, "{source}");
        }
    }

    #[test]
    fn git_addresses_name_reference_and_directory() {
        let expected = GitSource {
            reference: Some("v1".into()),
            subdirectory: Some("a/b".into()),
            ..repository("https://example.com/a.git")
        };
        for address in [
            "https://example.com/a.git#v1:a/b/",
            "https://example.com/a.git?ref=v1&subdir=/a/b",
        ] {
            assert_eq!(git(address), Ok(expected.clone()), "{address}");
        }
        assert!(git("https://example.com/a.git?ref=x#y").is_err());
        assert!(git("https://example.com/a.git?what=x").is_err());
    }

    #[test]
    fn name_of_a_fetched_file_is_the_end_of_its_path() {
        for (url, expected) in [
            ("http://example.com/a/b.txt?x=/y", Some("b.txt")),
            ("http://example.com/a/", Some("a")),
            ("http://example.com/", None),
            ("http://example.com", None),
            ("http://example.com/a%20b", Some("a b")),
            ("http://example.com/..", None),
            ("http://example.com/a%2fb", None),
        ] {
            assert_eq!(file_name(url).as_deref(), expected, "{url}");
        }
    }
}
