//! What git knows of a build context, for labels and annotations of the image.
//!
//! Keys: OCI image-spec, annotations.md; `docker buildx` fills the same ones when
//! `BUILDX_GIT_LABELS` asks for it.

use crate::arguments::BuildArguments;
use crate::error::{Class, Failure};
use std::path::{Path, PathBuf};
use std::process::Command;

const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
const VERSION: &str = "org.opencontainers.image.version";
/// Docker's key for where in the repository the Dockerfile lies.
const ENTRYPOINT: &str = "com.docker.image.source.entrypoint";

/// Which labels the environment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// The revision and the Dockerfile's place.
    Revision,
    /// All.
    Full,
}

/// Returns the labels that the flags or the environment ask for.
pub fn labels(arguments: &BuildArguments) -> Result<Vec<(String, String)>, Failure> {
    let asked = match std::env::var("BUILDX_GIT_LABELS").as_deref() {
        Ok("full") => Asked::Full,
        Ok("1" | "true") => Asked::Revision,
        _ => Asked::Nothing,
    };
    let repository = match (arguments.git_labels, asked) {
        (true, _) => Repository::of(arguments)?,
        (false, Asked::Nothing) => return Ok(Vec::new()),
        // The environment asks for it in all builds, those of other contexts too.
        (false, _) => match Repository::of(arguments) {
            Ok(repository) => repository,
            Err(_) => return Ok(Vec::new()),
        },
    };
    let mut labels = match (arguments.git_labels, asked) {
        (false, Asked::Revision) => vec![(REVISION.to_owned(), repository.revision()?)],
        _ => repository.facts()?,
    };
    if asked != Asked::Nothing {
        labels.extend(
            repository
                .dockerfile(arguments)
                .map(|path| (ENTRYPOINT.to_owned(), path)),
        );
    }
    Ok(labels)
}

/// Returns the annotations of the manifests that the flags ask for.
pub fn annotations(arguments: &BuildArguments) -> Result<Vec<(String, String)>, Failure> {
    match arguments.git_annotations {
        true => Repository::of(arguments)?.facts(),
        false => Ok(Vec::new()),
    }
}

/// Returns the time of the commit that the build context is a checkout of, in seconds since
/// 1970; nothing if it is none.
pub fn commit_seconds(arguments: &BuildArguments) -> Option<i64> {
    let repository = Repository::of(arguments).ok()?;
    let time = repository.ask(&["show", "--no-patch", "--format=%ct", "HEAD"]);
    time.ok()?.parse().ok()
}

/// The checkout that a build context lies in.
struct Repository {
    context: PathBuf,
}

impl Repository {
    fn of(arguments: &BuildArguments) -> Result<Self, Failure> {
        let context = PathBuf::from(&arguments.context);
        if !context.is_dir() {
            return Err(Failure::usage(format!(
                "git knows nothing of the build context `{}`: it is no directory",
                arguments.context
            ))
            .with_hint("leave --git-labels and --git-annotations out, or build a checkout"));
        }
        let repository = Repository { context };
        repository.ask(&["rev-parse", "--is-inside-work-tree"])?;
        Ok(repository)
    }

    /// Returns what is known: the revision, where it came from, its tag.
    fn facts(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut facts = vec![(REVISION.to_owned(), self.revision()?)];
        let origin = self.ask(&["remote", "get-url", "origin"]).ok();
        facts.extend(origin.map(|url| (SOURCE.to_owned(), without_credentials(&url))));
        let tag = self
            .ask(&["describe", "--tags", "--exact-match", "HEAD"])
            .ok();
        facts.extend(tag.map(|tag| (VERSION.to_owned(), tag)));
        Ok(facts)
    }

    /// Returns the commit, marked when files of the checkout differ from it.
    fn revision(&self) -> Result<String, Failure> {
        let commit = self.ask(&["rev-parse", "--verify", "HEAD"])?;
        let changes = self.ask(&["status", "--porcelain", "--ignored=no", "."])?;
        Ok(match changes.is_empty() {
            true => commit,
            false => format!("{commit}-dirty"),
        })
    }

    /// Returns where in the repository the Dockerfile lies.
    fn dockerfile(&self, arguments: &BuildArguments) -> Option<String> {
        let top = self.ask(&["rev-parse", "--show-toplevel"]).ok()?;
        let top = Path::new(&top).canonicalize().ok()?;
        let file = match arguments.file.as_deref() {
            Some("-") => return None,
            Some(file) => PathBuf::from(file),
            None => self.context.join("Dockerfile"),
        };
        let file = file.canonicalize().ok()?;
        Some(file.strip_prefix(top).ok()?.to_string_lossy().into_owned())
    }

    /// Returns the first line that git answers. Hooks and monitors of the checkout stay asleep.
    fn ask(&self, question: &[&str]) -> Result<String, Failure> {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.context);
        git.args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ]);
        let output = git.args(question).output().map_err(|error| {
            Failure::caused(
                Class::Store,
                "cannot ask git about the build context",
                &error,
            )
            .with_hint("install git, or leave --git-labels and --git-annotations out")
        })?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::new(
                Class::Store,
                format!("git knows nothing of the build context: {reason}"),
            ));
        }
        let answer = String::from_utf8_lossy(&output.stdout);
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }
}

/// Returns an address without the user and password that it may have.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((credentials, _)) => format!("{scheme}://{}", &rest[credentials.len() + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_left_out_of_addresses() {
        let cases = [
            (
                "https://me:secret@example.org/a.git",
                "https://example.org/a.git",
            ),
            ("https://a@b@example.org/x@y", "https://example.org/x@y"),
            ("https://example.org/a@b.git", "https://example.org/a@b.git"),
            ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ];
        for (url, expected) in cases {
            assert_eq!(without_credentials(url), expected, "{url}");
        }
    }
}
