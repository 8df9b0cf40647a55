//! `COPY [flags] SOURCE… DESTINATION`.

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
