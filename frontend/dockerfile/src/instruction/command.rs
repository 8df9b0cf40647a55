//! Command lines: the JSON form and the shell form.

use super::Line;
use super::line::json_strings;
use crate::diagnostic::Diagnostic;
use crate::syntax::{Delimiter, Fragment, Heredoc, announced_heredocs};

/// What RUN, CMD, ENTRYPOINT and HEALTHCHECK CMD run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell.
    Shell {
        /// The text on one line, without heredoc bodies.
        text: String,
        /// The heredocs of the text, in order; only RUN has them.
        heredocs: Vec<Heredoc>,
    },
    /// Arguments from a JSON array.
    Exec(Vec<String>),
}

impl Command {
    /// Returns the heredoc if the whole text is one: its body is what is run.
    pub fn sole_heredoc(&self) -> Option<&Heredoc> {
        let Self::Shell { text, heredocs } = self else {
            return None;
        };
        let [heredoc] = heredocs.as_slice() else {
            return None;
        };
        let announced = announced_heredocs(text, Delimiter::Shell);
        let is_alone = announced
            .first()
            .is_some_and(|first| first.range == (0..text.trim_end().len()));
        is_alone.then_some(heredoc)
    }

    /// Returns the text that a shell is given, heredoc bodies put back where a shell reads
    /// them; `None` in the JSON form.
    pub fn shell_text(&self) -> Option<String> {
        let Self::Shell { text, heredocs } = self else {
            return None;
        };
        if let Some(heredoc) = self.sole_heredoc() {
            return Some(heredoc.body().into_owned());
        }
        let bodies = heredocs
            .iter()
            .map(|heredoc| format!("\n{}", heredoc.to_source()));
        Some(std::iter::once(text.clone()).chain(bodies).collect())
    }
}

impl Command {
    /// Parses the arguments of `line`.
    ///
    /// Errors: nothing at all, a JSON array with something other than strings.
    pub(super) fn parse(line: &Line<'_, '_>) -> Result<Self, Diagnostic> {
        Self::parse_fragment(line, line.arguments)
    }

    /// Parses `arguments`, a part of `line`.
    pub(super) fn parse_fragment(
        line: &Line<'_, '_>,
        arguments: Fragment<'_>,
    ) -> Result<Self, Diagnostic> {
        if arguments.is_empty() {
            return Err(line.missing("a command"));
        }
        if let Some(words) = json_strings(arguments)? {
            return Ok(Self::Exec(
                words.into_iter().map(|word| word.text).collect(),
            ));
        }
        let heredocs = line
            .heredocs
            .iter()
            .map(|placed| placed.heredoc.clone())
            .collect();
        Ok(Self::Shell {
            text: arguments.text().to_owned(),
            heredocs,
        })
    }
}
