//! Here documents: `<<NAME`, `<<-NAME`, `<<"NAME"`.

use std::borrow::Cow;

use super::Span;

/// A here document of a RUN, COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, without quotes.
    pub name: String,
    /// The digits before `<<`, or nothing.
    pub file_descriptor: String,
    /// Whether variables in the body are expanded: no part of the delimiter is quoted.
    pub expand: bool,
    /// Whether leading tabs are dropped: `<<-`.
    pub strip_tabs: bool,
    /// The body as written, every line with its line end, terminator excluded.
    pub content: String,
    /// The word `<<NAME`.
    pub span: Span,
    /// The body.
    pub content_span: Span,
}

impl Heredoc {
    /// Returns the body, leading tabs dropped where the heredoc asks for it.
    pub fn body(&self) -> Cow<'_, str> {
        if !self.strip_tabs {
            return Cow::Borrowed(&self.content);
        }
        let lines = self.content.split_inclusive('\n');
        Cow::Owned(lines.map(|line| line.trim_start_matches('\t')).collect())
    }

    /// Returns body and terminator as written after the line that announces the heredoc.
    pub fn to_source(&self) -> String {
        format!("{}{}", self.content, self.name)
    }
}
