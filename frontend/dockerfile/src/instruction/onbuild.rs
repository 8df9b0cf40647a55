//! `ONBUILD INSTRUCTION`.

use super::line::Head;
use super::parse::{Keyword, find_keyword, parse_head};
use super::{Instruction, Line};
use crate::diagnostic::{Code, Diagnostic};
use crate::syntax::Span;

/// An instruction for the builds that start from this image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger's text, heredocs put back: what the image's config keeps.
    pub trigger: String,
    /// The trigger, parsed.
    pub instruction: Box<Instruction>,
}

impl Onbuild {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        if line.arguments.is_empty() {
            return Err(line.missing("an instruction"));
        }
        let head = Head::of(line.arguments);
        let keyword = find_keyword(head.keyword)?;
        if !keyword.may_be_trigger {
            return Err(not_a_trigger(keyword, head.keyword.span()));
        }
        let bodies = line
            .heredocs
            .iter()
            .map(|placed| format!("\n{}", placed.heredoc.to_source()));
        let trigger = std::iter::once(line.arguments.text().to_owned())
            .chain(bodies)
            .collect();
        let instruction = parse_head(keyword, head, line.heredocs, line.escape, line.findings)?;
        Ok(Self {
            trigger,
            instruction: Box::new(instruction),
        })
    }
}

/// Returns an error: the instruction may not be a trigger.
pub(super) fn not_a_trigger(keyword: Keyword, span: Span) -> Diagnostic {
    let message = format!("{} can't be a trigger of ONBUILD", keyword.name);
    Diagnostic::error(Code::INVALID_TRIGGER, span, message)
}
