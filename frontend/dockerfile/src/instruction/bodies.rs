//! The bodies of heredocs, which follow the line that announces them.

use super::line::{Head, PlacedHeredoc};
use super::parse::{Heredocs, KEYWORDS, Keyword, Parser, find_keyword};
use crate::diagnostic::{Code, Diagnostic, quoted, suggest};
use crate::syntax::{
    Announced, Fragment, Heredoc, JsonForm, SourceFile, Span, announced_heredocs, json_form,
};

impl Parser<'_> {
    /// Takes the heredocs of an unknown instruction if the one it may be has them: their
    /// lines would all be unknown instructions.
    pub(super) fn skip_heredocs(&mut self, head: &Head<'_>, end: usize) {
        let meant = suggest(head.keyword.text(), &KEYWORDS.map(|keyword| keyword.name));
        let keyword = KEYWORDS.iter().find(|keyword| Some(keyword.name) == meant);
        if let Some(keyword) = keyword {
            // Should one not be closed: the unknown instruction is reported, that is enough.
            let _ = self.heredocs(*keyword, head, end);
        }
    }

    /// Returns the heredocs of the line and where the last one ends.
    pub(super) fn heredocs(
        &mut self,
        keyword: Keyword,
        head: &Head<'_>,
        end: usize,
    ) -> Result<(Vec<PlacedHeredoc>, usize), Diagnostic> {
        let (arguments, delimiter) = match keyword.heredocs {
            Heredocs::None => return Ok((Vec::new(), end)),
            Heredocs::Delimited(delimiter) => (head.arguments, delimiter),
            Heredocs::OfTrigger => {
                let trigger = Head::of(head.arguments);
                match find_keyword(trigger.keyword).map(|keyword| keyword.heredocs) {
                    Ok(Heredocs::Delimited(delimiter)) => (trigger.arguments, delimiter),
                    _ => return Ok((Vec::new(), end)),
                }
            }
        };
        if !arguments.text().contains('<') || json_form(arguments) != JsonForm::Absent {
            return Ok((Vec::new(), end));
        }
        self.bodies(
            arguments,
            announced_heredocs(arguments.text(), delimiter),
            end,
        )
    }

    fn bodies(
        &mut self,
        arguments: Fragment<'_>,
        announced: Vec<Announced>,
        mut end: usize,
    ) -> Result<(Vec<PlacedHeredoc>, usize), Diagnostic> {
        let mut heredocs = Vec::with_capacity(announced.len());
        for heredoc in announced {
            let span = arguments.slice(heredoc.range.clone()).span();
            let (start, _) = self.lines.rest();
            let Some((body, after)) = self.lines.take_body(&heredoc.name, heredoc.strip_tabs)
            else {
                return Err(unterminated(self.source, &heredoc, span, start));
            };
            end = after;
            let content = self.source.slice(body).to_owned();
            heredocs.push(PlacedHeredoc {
                range: heredoc.range,
                heredoc: Heredoc {
                    name: heredoc.name,
                    file_descriptor: heredoc.file_descriptor,
                    expand: heredoc.expand,
                    strip_tabs: heredoc.strip_tabs,
                    content,
                    span,
                    content_span: body,
                },
            });
        }
        Ok((heredocs, end))
    }
}

/// Returns an error: the body of `heredoc`, which begins at the byte `start`, has no end.
fn unterminated(source: &SourceFile, heredoc: &Announced, span: Span, start: usize) -> Diagnostic {
    let name = quoted(&heredoc.name);
    let message = format!("heredoc {name} is not closed");
    let error = Diagnostic::error(Code::INVALID_HEREDOC, span, message);
    match near_end(source, &heredoc.name, start) {
        Some(line) => error
            .with_label(line, "this does not close it")
            .with_help(format!(
                "put {name} alone on the line, without white space{}",
                tabs(heredoc)
            )),
        None => error.with_help(format!("put {name} alone on the line after its body")),
    }
}

fn tabs(heredoc: &Announced) -> &'static str {
    match heredoc.strip_tabs {
        true => " but tabs before it",
        false => "; after `<<-` tabs may stand before it",
    }
}

/// Returns the first line from the byte `start` on that is nearly `name`.
fn near_end(source: &SourceFile, name: &str, start: usize) -> Option<Span> {
    let text = source.text().get(start..)?;
    let is_near = |line: &&str| line.trim().eq_ignore_ascii_case(name);
    let line = text.lines().find(is_near)?.trim();
    // The line is a part of the source's text.
    let at = (line.as_ptr() as usize).checked_sub(source.text().as_ptr() as usize)?;
    Some(Span::new(at, at + line.len()))
}
