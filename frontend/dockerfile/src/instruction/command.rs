//! Command lines: the JSON form and the shell form.

use crate::syntax::Heredoc;

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
        let is_alone = !text.trim().contains([' ', '\t'])
            && text
                .trim_start()
                .starts_with(|c: char| c == '<' || c.is_ascii_digit());
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
