//! What a name means at the remote: branches, tags, commits and beginnings of them.

use super::program::Program;
use crate::FetchError;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Branch, tag, whole reference, commit or beginning of one; the remote's HEAD when absent.
    pub reference: Option<String>,
    /// Commit, or beginning of it, that it must be.
    pub checksum: Option<String>,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The commit; `None` for the beginning of one that no reference of the remote has.
    pub commit: Option<String>,
    /// The whole name of the reference, if it is one.
    pub reference: Option<String>,
}

/// One line of what a remote lists: a name and its object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    object: String,
    name: String,
}

/// Returns what `wanted` is now.
pub(super) fn resolve(program: &Program<'_>, wanted: &Wanted) -> Result<Resolved, FetchError> {
    let name = match (&wanted.reference, &wanted.checksum) {
        (Some(name), _) => name.as_str(),
        // A commit that nothing else is said of is looked for by itself.
        (None, Some(checksum)) => checksum.as_str(),
        (None, None) => "HEAD",
    };
    let listed = list(program, &patterns(name))?;
    if let Some(resolved) = find(&listed, name) {
        check(program, wanted, name, &resolved)?;
        return Ok(resolved);
    }
    if name == "HEAD" {
        let remote = program.address.remote.clone();
        return Err(FetchError::EmptyRepository { remote });
    }
    let all = list(program, &[])?;
    if !is_beginning(name) {
        return Err(unknown(program, name, &all));
    }
    let resolved = Resolved {
        commit: whole(&all, name).or_else(|| is_whole(name).then(|| name.to_owned())),
        reference: None,
    };
    check(program, wanted, name, &resolved)?;
    Ok(resolved)
}

/// Checks a known commit against the one that is demanded.
pub(super) fn check(
    program: &Program<'_>,
    wanted: &Wanted,
    name: &str,
    resolved: &Resolved,
) -> Result<(), FetchError> {
    match (&wanted.checksum, &resolved.commit) {
        (Some(expected), Some(found)) if !found.starts_with(expected.as_str()) => {
            Err(FetchError::WrongCommit {
                remote: program.address.remote.clone(),
                reference: name.to_owned(),
                expected: expected.clone(),
                found: found.clone(),
            })
        }
        _ => Ok(()),
    }
}

fn list(program: &Program<'_>, patterns: &[String]) -> Result<Vec<Listed>, FetchError> {
    let mut command = program.command(None);
    command.args(["ls-remote", "--quiet", "--end-of-options"]);
    command.arg(&program.address.remote).args(patterns);
    let output = program.ask("list what there is in", &mut command)?;
    Ok(parse(&String::from_utf8_lossy(&output)))
}

/// The places where a name may stand, and what annotated tags point to.
fn patterns(name: &str) -> Vec<String> {
    let places = candidates(name);
    let peeled = places.iter().map(|place| format!("{place}^{{}}"));
    let mut patterns: Vec<String> = places.iter().cloned().chain(peeled).collect();
    patterns.dedup();
    patterns
}

/// Returns the whole names that `name` may stand for, the one that is meant first. A branch
/// is meant rather than a tag, as checkouts do.
fn candidates(name: &str) -> Vec<String> {
    let mut places = vec![name.to_owned()];
    if name != "HEAD" && !name.starts_with("refs/") {
        places.extend(["refs/", "refs/heads/", "refs/tags/"].map(|start| format!("{start}{name}")));
    }
    places
}

fn parse(text: &str) -> Vec<Listed> {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines
        .filter(|(object, _)| is_whole(object))
        .map(|(object, name)| Listed {
            object: object.to_owned(),
            name: name.to_owned(),
        })
        .collect()
}

fn find(listed: &[Listed], name: &str) -> Option<Resolved> {
    let object = |wanted: &str| {
        let found = listed.iter().find(|listed| listed.name == wanted);
        found.map(|listed| listed.object.clone())
    };
    candidates(name).into_iter().find_map(|place| {
        let commit = object(&format!("{place}^{{}}")).or_else(|| object(&place))?;
        Some(Resolved {
            commit: Some(commit),
            reference: Some(place),
        })
    })
}

/// Returns the commit of a reference that begins with `beginning`, if there is just one.
fn whole(listed: &[Listed], beginning: &str) -> Option<String> {
    // The objects of annotated tags are no commits: what they point to is listed beside them.
    let is_annotated = |listed: &Listed, all: &[Listed]| {
        let peeled = format!("{}^{{}}", listed.name);
        all.iter().any(|other| other.name == peeled)
    };
    let mut found: Vec<&String> = listed
        .iter()
        .filter(|entry| entry.object.starts_with(beginning) && !is_annotated(entry, listed))
        .map(|entry| &entry.object)
        .collect();
    found.dedup();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Some((*one).clone()),
        _ => None,
    }
}

/// Whether `name` can be the beginning of a commit.
fn is_beginning(name: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (7..=64).contains(&name.len()) && name.bytes().all(is_digit)
}

/// Whether `name` is a whole commit.
pub(super) fn is_whole(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && is_beginning(name)
}

fn unknown(program: &Program<'_>, name: &str, all: &[Listed]) -> FetchError {
    let remote = program.address.remote.clone();
    if all.is_empty() {
        return FetchError::EmptyRepository { remote };
    }
    let short = ["refs/heads/", "refs/tags/", "refs/"]
        .iter()
        .find_map(|start| name.strip_prefix(start))
        .unwrap_or(name);
    let names = all.iter().filter_map(|listed| {
        let name = listed.name.strip_suffix("^{}").unwrap_or(&listed.name);
        name.strip_prefix("refs/heads/")
            .or_else(|| name.strip_prefix("refs/tags/"))
    });
    FetchError::UnknownReference {
        remote,
        reference: name.to_owned(),
        suggestion: nearest(short, names),
    }
}

/// Returns the name that `word` is most likely a slip of.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    // Of the one habit that changed a name altogether.
    let renamed = match word {
        "master" => "main",
        "main" => "master",
        _ => "",
    };
    let forgiven = word.chars().count().div_ceil(3).min(3);
    names
        .map(|name| match name == renamed {
            true => (0, name),
            false => (distance(word, name), name),
        })
        .filter(|(distance, _)| *distance <= forgiven)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

/// Returns the number of characters to add, take away or change from `left` to `right`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.chars().take(64).enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(letter != *other);
            let least = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            current.push(least);
        }
        above = current;
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";
    const TAG: &str = "3333333333333333333333333333333333333333";

    fn listed() -> Vec<Listed> {
        parse(&format!(
            "{ONE}\tHEAD\n{ONE}\trefs/heads/main\n{TWO}\trefs/heads/v1\n{TAG}\trefs/tags/v1\n\
             {ONE}\trefs/tags/v1^{{}}\n{TWO}\trefs/pull/7/head\nnonsense\tx\n"
        ))
    }

    #[test]
    fn names_are_whole_references_branches_and_tags_in_this_order() {
        for (name, expected) in [
            ("HEAD", Some((ONE, "HEAD"))),
            ("main", Some((ONE, "refs/heads/main"))),
            ("v1", Some((TWO, "refs/heads/v1"))),
            ("refs/tags/v1", Some((ONE, "refs/tags/v1"))),
            ("tags/v1", Some((ONE, "refs/tags/v1"))),
            ("pull/7/head", Some((TWO, "refs/pull/7/head"))),
            ("heads", None),
            ("x", None),
        ] {
            let found = find(&listed(), name);
            let expected = expected.map(|(commit, reference)| Resolved {
                commit: Some(commit.into()),
                reference: Some(reference.into()),
            });
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn beginning_of_a_commit_is_looked_for_among_the_references() {
        assert_eq!(whole(&listed(), "1111111").as_deref(), Some(ONE));
        assert_eq!(whole(&listed(), "3333333"), None);
        assert_eq!(whole(&listed(), "4444444"), None);
        assert!(is_beginning("1111111") && !is_beginning("111111") && !is_beginning("main"));
    }

    #[test]
    fn misspelt_names_are_told_from_others() {
        let names = ["main", "release/1.0", "v1.2.3"];
        let nearest = |word| nearest(word, names.into_iter());
        assert_eq!(nearest("mian").as_deref(), Some("main"));
        assert_eq!(nearest("master").as_deref(), Some("main"));
        assert_eq!(nearest("v1.2.4").as_deref(), Some("v1.2.3"));
        assert_eq!(nearest("nothing"), None);
    }
}
