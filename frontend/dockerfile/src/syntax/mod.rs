//! Text to lines: directives, comments, continuations, heredocs.
//!
//! Nothing here knows what an instruction means. Positions are byte offsets into the
//! source text; [`SpanMap`] carries them through joined continuation lines.

mod directive;
mod heredoc;
mod source;
mod span;
mod word;

pub use directive::{Check, Comment, Directives, Escape};
pub use heredoc::Heredoc;
pub use source::{Position, SourceFile};
pub use span::{Span, SpanMap};
pub use word::Word;
