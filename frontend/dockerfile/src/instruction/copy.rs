//! `COPY [flags] SOURCE… DESTINATION`.

use super::Line;
use crate::diagnostic::{Code, Diagnostic};
use crate::syntax::{Heredoc, Word};

/// A copy from the context, a stage or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// `--from`: a stage's name or number, an image, a named context.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, in order.
    pub excludes: Vec<Word>,
    /// What is copied.
    pub sources: Vec<CopySource>,
    /// Where it goes.
    pub destination: Word,
}

/// A source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path, a glob or, for ADD, a URL.
    Path(Word),
    /// A file written in the Dockerfile.
    Heredoc(Heredoc),
}

impl Copy {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        let known = ["from", "chown", "chmod", "link", "parents", "exclude"];
        line.check_flags(&known, &["exclude"]);
        line.check_late_flags(&known);
        let from = line.flag_word("from");
        let chown = line.flag_word("chown");
        let chmod = line.flag_word("chmod");
        let link = line.flag_boolean("link").unwrap_or_default();
        let parents = line.flag_boolean("parents").unwrap_or_default();
        let excludes = line.flag_words("exclude");
        let (sources, destination) = sources_and_destination(&line)?;
        Ok(Self {
            from,
            chown,
            chmod,
            link,
            parents,
            excludes,
            sources,
            destination,
        })
    }
}

/// Returns the arguments of COPY and ADD.
///
/// Errors: fewer than two, a heredoc as the destination.
pub(super) fn sources_and_destination(
    line: &Line<'_, '_>,
) -> Result<(Vec<CopySource>, Word), Diagnostic> {
    let mut sources = match line.json()? {
        Some(words) => words.into_iter().map(CopySource::Path).collect(),
        None => words_and_heredocs(line),
    };
    let destination = sources.pop();
    if sources.is_empty() {
        return Err(line.missing("at least a source and a destination"));
    }
    match destination {
        Some(CopySource::Path(destination)) => Ok((sources, destination)),
        Some(CopySource::Heredoc(heredoc)) => {
            let message = format!("the destination of {} can't be a heredoc", line.name);
            Err(Diagnostic::error(
                Code::INVALID_HEREDOC,
                heredoc.span,
                message,
            ))
        }
        None => Err(line.missing("a destination")),
    }
}

fn words_and_heredocs(line: &Line<'_, '_>) -> Vec<CopySource> {
    let mut sources = Vec::new();
    let mut end = 0;
    for placed in &line.heredocs {
        let words = line.arguments.slice(end..placed.range.start).words();
        sources.extend(words.into_iter().map(|word| CopySource::Path(word.word())));
        sources.push(CopySource::Heredoc(placed.heredoc.clone()));
        end = placed.range.end;
    }
    let words = line.arguments.skip(end).words();
    sources.extend(words.into_iter().map(|word| CopySource::Path(word.word())));
    sources
}
