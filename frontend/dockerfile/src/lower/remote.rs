//! Sources of ADD that lie elsewhere: HTTP addresses and git repositories.

use super::copy::Fetching;
use super::{Lowered, code};
use crate::diagnostic::{Diagnostic, suggest};
use crate::syntax::Span;
use kiln_oci::Digest;
use kiln_plan::remote::{self, Remote, RemoteError};
use kiln_plan::{GitSource, HttpSource, Op, Unpack};

/// Permission bits of a file that was fetched.
const FETCHED_MODE: u32 = 0o600;

/// What ADD does with one source that lies elsewhere.
pub(super) struct Fetched {
    /// What fetches it.
    pub op: Op,
    /// What of the result is copied.
    pub selected: String,
    /// Whether it is unpacked.
    pub unpack: Unpack,
}

/// Returns where `source` lies; nothing if it is a path in the build context.
pub(super) fn classify(source: &str, span: Span) -> Lowered<Option<Remote>> {
    match Remote::parse(source) {
        Some(parsed) => parsed.map(Some).map_err(|error| refused(&error, span)),
        None => match source.split_once("://") {
            Some((scheme, _)) if is_scheme(scheme) => Err(unknown_scheme(scheme, span)),
            _ => Ok(None),
        },
    }
}

/// Returns what ADD does with the file at `url`.
pub(super) fn http(
    url: String,
    destination: &str,
    fetching: &Fetching,
    span: Span,
) -> Lowered<Fetched> {
    let filename = remote::file_name(&url);
    if filename.is_none() && destination.ends_with('/') {
        let message = format!("`{}` gives no name to the file", remote::redacted(&url));
        let error = Diagnostic::error(code::INVALID_COPY, span, message);
        return Err(error.with_help("name the file in the destination"));
    }
    let filename = filename.unwrap_or_else(|| "download".to_owned());
    let checksum = match &fetching.checksum {
        Some((text, span)) => Some(file_checksum(text, *span)?),
        None => None,
    };
    let source = HttpSource {
        url,
        checksum,
        filename: filename.clone(),
        mode: FETCHED_MODE,
    };
    Ok(Fetched {
        op: Op::Http(source),
        selected: filename,
        unpack: match fetching.unpack {
            Some(true) => Unpack::Detect,
            Some(false) | None => Unpack::Never,
        },
    })
}

/// Returns what ADD does with the repository `git`.
pub(super) fn git(mut git: GitSource, fetching: &Fetching, span: Span) -> Lowered<Fetched> {
    if let Some((text, span)) = &fetching.checksum {
        let checksum = remote::checksum(text).map_err(|error| refused(&error, *span))?;
        match &git.checksum {
            Some(known) if !checksum.starts_with(known) && !known.starts_with(&checksum) => {
                return Err(two_values("checksum", known, &checksum, *span));
            }
            // The longer one says all that the shorter one says.
            Some(known) if known.len() >= checksum.len() => {}
            _ => git.checksum = Some(checksum),
        }
    }
    if let Some(keep) = fetching.keep_git_dir {
        if git.keep_git_directory && !keep {
            return Err(two_values("keep-git-dir", "true", "false", span));
        }
        git.keep_git_directory = keep;
    }
    git.check().map_err(|error| refused(&error, span))?;
    Ok(Fetched {
        op: Op::Git(git),
        selected: ".".to_owned(),
        unpack: Unpack::Never,
    })
}

fn refused(error: &RemoteError, span: Span) -> Diagnostic {
    Diagnostic::error(code::INVALID_COPY, span, error.to_string())
}

fn two_values(what: &str, first: &str, second: &str, span: Span) -> Diagnostic {
    let message = format!("--{what} and the address differ: `{second}` and `{first}`");
    Diagnostic::error(code::INVALID_COPY, span, message)
}

fn is_scheme(text: &str) -> bool {
    let is_allowed =
        |character: char| character.is_ascii_alphanumeric() || "+-.".contains(character);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(is_allowed)
}

fn unknown_scheme(scheme: &str, span: Span) -> Diagnostic {
    let message = format!("nothing can be fetched by `{scheme}://`");
    let error = Diagnostic::error(code::INVALID_COPY, span, message);
    let known = ["https", "http", "git", "ssh"];
    error.with_help(match suggest(scheme, &known) {
        Some(known) => format!("did you mean `{known}://`?"),
        None => "there are https, http, git and ssh".to_owned(),
    })
}

fn file_checksum(text: &str, span: Span) -> Lowered<Digest> {
    text.parse().map_err(|error: kiln_oci::DigestError| {
        let message = format!("`{text}` is no checksum");
        Diagnostic::error(code::INVALID_COPY, span, message).with_text(error.to_string())
    })
}
