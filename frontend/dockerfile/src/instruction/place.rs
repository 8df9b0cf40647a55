//! Which instructions may come next.

use super::onbuild::not_a_trigger;
use super::parse::Keyword;
use crate::diagnostic::{Code, Diagnostic};
use crate::syntax::Span;

/// Where the parser stands, which says what may come next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file; only ARG came.
    BeforeStages,
    /// In a file; an instruction came that needs a stage, which was found.
    NoStage,
    /// In a stage.
    InStage,
    /// In the text of a trigger.
    Trigger,
}

impl Place {
    /// Goes on past `keyword`; returns an error if it may not come here.
    pub(super) fn enter(&mut self, keyword: Keyword, span: Span) -> Option<Diagnostic> {
        match (&self, keyword.name) {
            (Self::Trigger, _) if !keyword.may_be_trigger => Some(not_a_trigger(keyword, span)),
            (Self::Trigger | Self::InStage, _) | (_, "ARG") => None,
            (_, "FROM") => {
                *self = Self::InStage;
                None
            }
            (Self::NoStage, _) => None,
            (Self::BeforeStages, name) => {
                *self = Self::NoStage;
                let message = format!("{name} stands before the first FROM");
                let finding = Diagnostic::error(Code::NO_STAGE, span, message);
                Some(finding.with_help("only ARG may stand before a stage starts"))
            }
        }
    }
}
