//! Text to lines: directives, comments, continuations, heredocs, flags, words.
//!
//! Nothing here knows what an instruction means. Positions are byte offsets into the
//! source text; [`SpanMap`] carries them through joined continuation lines.

mod directive;
mod flag;
mod fragment;
mod frontend;
mod heredoc;
mod json;
mod layout;
mod lines;
mod source;
mod span;
mod word;

pub use directive::{Check, Comment, Directives, Escape};
pub use heredoc::Heredoc;
pub use layout::{Piece, PieceKind};
pub use source::{Position, SourceFile};
pub use span::{Span, SpanMap};
pub use word::Word;

pub(crate) use directive::late as late_directives;
pub(crate) use flag::{Flag, cut_flags};
pub(crate) use fragment::Fragment;
pub(crate) use heredoc::{Announced, Delimiter, announced_heredocs};
pub(crate) use json::{JsonForm, json_form, malformed_json};
pub(crate) use lines::{Lines, LogicalLine};
pub(crate) use source::Encoding;
