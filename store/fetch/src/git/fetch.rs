//! Bringing a commit into a bare repository, with as little as the remote can give.

use super::program::Program;
use super::references::is_whole;
use crate::FetchError;
use std::path::Path;
use std::process::Command;

/// What is looked for at a remote.
pub(super) struct Sought<'a> {
    /// The commit, or its beginning.
    pub commit: &'a str,
    /// The whole name of a reference that leads to it, where one is known.
    pub reference: Option<&'a str>,
}

/// Makes `repository` an empty bare repository, unless it is one. Nobody else uses it: lock
/// files in it are those of a process that was ended, and are removed.
pub(super) fn prepare(
    program: &Program<'_>,
    repository: &Path,
    commit: &str,
) -> Result<(), FetchError> {
    remove_locks(repository)?;
    let parts = ["config", "objects", "refs", "HEAD"];
    if parts.iter().all(|part| repository.join(part).exists()) {
        return Ok(());
    }
    let format = match commit.len() {
        64 => "--object-format=sha256",
        _ => "--object-format=sha1",
    };
    let mut command = program.command(Some(repository));
    command.args(["init", "--quiet", "--bare", "--template=", format]);
    program.run("make a repository for", &mut command).map(drop)
}

fn remove_locks(repository: &Path) -> Result<(), FetchError> {
    let mut directories = vec![repository.to_owned(), repository.join("refs")];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path
                .extension()
                .is_some_and(|extension| extension == "lock")
            {
                std::fs::remove_file(&path).map_err(FetchError::file("remove", &path))?;
            } else if path.is_dir() && directory != *repository {
                directories.push(path);
            }
        }
    }
    Ok(())
}

/// Does `work` in `repository`; once more in an empty one if it turns out to be damaged.
pub(super) fn within<T>(
    program: &Program<'_>,
    repository: &Path,
    commit: &str,
    work: impl Fn() -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    prepare(program, repository, commit)?;
    match work() {
        Err(error @ FetchError::Git { .. }) if is_damaged(program, repository)? => {
            let lost = format!("what was kept of {} is damaged", program.address.remote);
            (program.git.tell)(&format!("{lost} and is fetched again ({error})"));
            empty(repository)?;
            prepare(program, repository, commit)?;
            work()
        }
        done => done,
    }
}

fn is_damaged(program: &Program<'_>, repository: &Path) -> Result<bool, FetchError> {
    let mut command = program.command(Some(repository));
    command.args(["fsck", "--no-dangling", "--no-progress"]);
    Ok(!program.output(&mut command)?.status.success())
}

fn empty(repository: &Path) -> Result<(), FetchError> {
    let entries = std::fs::read_dir(repository).map_err(FetchError::file("read", repository))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.map_err(FetchError::file("remove", &path))?;
    }
    Ok(())
}

/// Returns the whole commit that is sought, once it and all its files are in `repository`.
pub(super) fn bring(
    program: &Program<'_>,
    repository: &Path,
    sought: &Sought<'_>,
) -> Result<String, FetchError> {
    if is_whole(sought.commit) && is_there(program, repository, sought.commit)? {
        return Ok(sought.commit.to_owned());
    }
    (program.git.tell)(&format!(
        "fetching {} of {}",
        short(sought.commit),
        program.address.remote
    ));
    if is_whole(sought.commit) {
        bring_whole(program, repository, sought)?;
        return Ok(sought.commit.to_owned());
    }
    fetch(program, repository, &everything(), Depth::All)?;
    complete(program, repository, sought)
}

/// Asks for the commit itself first, then for what leads to it, then for all there is. A
/// server may refuse to give what no reference names, and old ones know no depth.
fn bring_whole(
    program: &Program<'_>,
    repository: &Path,
    sought: &Sought<'_>,
) -> Result<(), FetchError> {
    let commit = sought.commit;
    let by_commit = [format!("+{commit}:refs/kiln/{commit}")];
    let mut first = None;
    let mut attempts = vec![(by_commit.to_vec(), Depth::One)];
    if let Some(reference) = sought.reference {
        let by_name = vec![format!("+{reference}:refs/kiln/{commit}")];
        attempts.push((by_name.clone(), Depth::One));
        attempts.push((by_name, Depth::All));
    }
    attempts.push((everything(), Depth::All));
    for (references, depth) in attempts {
        match fetch(program, repository, &references, depth) {
            Ok(()) if is_there(program, repository, commit)? => return Ok(()),
            Ok(()) => {}
            // Whoever is not let in is not let in otherwise.
            Err(error @ FetchError::Git { .. }) => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| unknown(program, sought)))
}

fn unknown(program: &Program<'_>, sought: &Sought<'_>) -> FetchError {
    FetchError::UnknownReference {
        remote: program.address.remote.clone(),
        reference: sought.commit.to_owned(),
        suggestion: None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    One,
    All,
}

fn everything() -> Vec<String> {
    vec![
        "+refs/heads/*:refs/kiln/heads/*".to_owned(),
        "+refs/tags/*:refs/kiln/tags/*".to_owned(),
    ]
}

fn fetch(
    program: &Program<'_>,
    repository: &Path,
    references: &[String],
    depth: Depth,
) -> Result<(), FetchError> {
    let mut command = program.command(Some(repository));
    command.args([
        "fetch",
        // Heard, so that a remote that works is told from one that does not.
        "--progress",
        "--no-tags",
        "--force",
        "--no-write-fetch-head",
    ]);
    command.args(["--no-recurse-submodules", "--update-head-ok"]);
    match depth {
        Depth::One => command.arg("--depth=1"),
        Depth::All if repository.join("shallow").exists() => command.arg("--unshallow"),
        Depth::All => &mut command,
    };
    command.arg("--end-of-options").arg(&program.address.remote);
    command.args(references);
    program.ask("fetch from", &mut command).map(drop)
}

/// Whether the commit is in the repository. Fetches are whole: then its files are too.
fn is_there(program: &Program<'_>, repository: &Path, commit: &str) -> Result<bool, FetchError> {
    let mut command = program.command(Some(repository));
    command.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
    Ok(program.output(&mut command)?.status.success())
}

/// Returns the whole commit that begins as sought.
fn complete(
    program: &Program<'_>,
    repository: &Path,
    sought: &Sought<'_>,
) -> Result<String, FetchError> {
    let mut command = program.command(Some(repository));
    let name = format!("{}^{{commit}}", sought.commit);
    command.args([
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &name,
    ]);
    let output = program.output(&mut command)?;
    let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() && is_whole(&commit) {
        true => Ok(commit),
        false => Err(unknown(program, sought)),
    }
}

/// Returns the annotated tag that `reference` is, if it is one, fetched by its name.
pub(super) fn tag_object(
    program: &Program<'_>,
    repository: &Path,
    reference: &str,
) -> Result<Option<String>, FetchError> {
    let place = format!("refs/kiln/{reference}");
    let references = [format!("+{reference}:{place}")];
    if fetch(program, repository, &references, Depth::One).is_err() {
        fetch(program, repository, &references, Depth::All)?;
    }
    let text = |command: &mut Command| -> Result<String, FetchError> {
        let output = program.run("look at", command)?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    };
    let mut kind = program.command(Some(repository));
    let kind = text(kind.args(["cat-file", "-t", &place]))?;
    if kind != "tag" {
        return Ok(None);
    }
    let mut name = program.command(Some(repository));
    text(name.args(["rev-parse", "--verify", &place])).map(Some)
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
