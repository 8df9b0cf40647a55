//! The comments directly above an instruction.

use crate::diagnostic::Diagnostic;
use crate::instruction::{Dockerfile, Statement};
use crate::syntax::{Check, Comment, Span, Word};

/// Keys of comments that tell the builder something and describe nothing.
const DIRECTIVES: [&str; 3] = ["syntax", "escape", "check"];

/// The comments of a file, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comments<'a> {
    all: &'a [Comment],
    /// Where the file's own `check=` stands.
    directive: Option<Span>,
}

impl<'a> Comments<'a> {
    pub(crate) fn of(dockerfile: &'a Dockerfile) -> Self {
        Self {
            all: &dockerfile.comments,
            directive: dockerfile.directives.check.as_ref().map(|check| check.span),
        }
    }

    /// Returns the description of `name` in the comments above `statement`: what follows
    /// the name at the start of one of them.
    pub(crate) fn description(self, statement: &Statement, name: &str) -> Option<&'a str> {
        let mut comments = self.above(statement);
        comments.find_map(|comment| comment.text.strip_prefix(name)?.strip_prefix(' '))
    }

    /// Returns the comments on the lines right above `statement`, in order.
    ///
    /// An empty line or an empty comment separates; directives are not among them.
    pub(super) fn above(self, statement: &Statement) -> impl Iterator<Item = &'a Comment> {
        let block = self.block(statement).iter();
        block.filter(|comment| directive(comment, &DIRECTIVES).is_none())
    }

    /// Returns what the `check=` right above `statement` says, if there is a valid one.
    pub(super) fn check(self, statement: &Statement) -> Option<Check> {
        let checks = self.checks_in(self.block(statement));
        checks.flat_map(|(_, check)| check).next()
    }

    /// Returns what every `check=` says but the file's own, each with its comment.
    pub(super) fn checks(self) -> impl Iterator<Item = (&'a Comment, Result<Check, Diagnostic>)> {
        self.checks_in(self.all)
    }

    /// Says whether `comment` stands right above one of `statements`, comments between.
    pub(super) fn is_above(self, comment: &Comment, statements: &[Statement]) -> bool {
        let after = statements.partition_point(|statement| *statement.lines.start() < comment.line);
        let block = statements.get(after).map(|statement| self.block(statement));
        block.is_some_and(|block| block.contains(comment))
    }

    fn checks_in(
        self,
        comments: &'a [Comment],
    ) -> impl Iterator<Item = (&'a Comment, Result<Check, Diagnostic>)> {
        comments.iter().filter_map(move |comment| {
            let value = directive(comment, &["check"])?;
            let is_same = |directive: Span| directive.start == value.span.start;
            let is_of_file = self.directive.is_some_and(is_same);
            (!is_of_file).then(|| (comment, Check::parse(&value)))
        })
    }

    fn block(self, statement: &Statement) -> &'a [Comment] {
        let first_line = *statement.lines.start();
        let end = self
            .all
            .partition_point(|comment| comment.line < first_line);
        let mut start = end;
        let mut line = first_line;
        while let Some(comment) = start.checked_sub(1).map(|before| &self.all[before])
            && comment.line + 1 == line
            && !comment.text.is_empty()
        {
            line = comment.line;
            start -= 1;
        }
        &self.all[start..end]
    }
}

/// Returns the value of the comment if it reads `KEY=VALUE` with one of `keys`: up to the
/// first white space, after which there may be remarks.
fn directive(comment: &Comment, keys: &[&str]) -> Option<Word> {
    let (key, value) = comment.text.split_once('=')?;
    let key = key.trim_end();
    let is_known = keys.iter().any(|known| key.eq_ignore_ascii_case(known));
    let value = value.trim_start();
    let start = comment.span.end.saturating_sub(value.len());
    let value = value.split_whitespace().next()?;
    is_known.then(|| Word::new(value, Span::new(start, start + value.len())))
}
