//! `RUN --mount=key=value,…`.

use crate::syntax::{Span, Word};

/// A mount of a RUN: its options, whose values are still to be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The options, in order; a key may stand only once.
    pub options: Vec<MountOption>,
    /// The flag's value.
    pub span: Span,
}

/// One option of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key, aliases resolved.
    pub key: MountKey,
    /// The value, unexpanded; `None` for a bare `ro`, `required`, ….
    pub value: Option<Word>,
    /// The whole option.
    pub span: Span,
}

/// The keys a mount knows. Which of them fit depends on its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountKey {
    /// `type`.
    Type,
    /// `target`, `dst`, `destination`.
    Target,
    /// `source`, `src`.
    Source,
    /// `from`.
    From,
    /// `ro`, `readonly`.
    ReadOnly,
    /// `rw`, `readwrite`.
    ReadWrite,
    /// `id`.
    Id,
    /// `sharing`.
    Sharing,
    /// `required`.
    Required,
    /// `mode`.
    Mode,
    /// `uid`.
    Uid,
    /// `gid`.
    Gid,
    /// `size`.
    Size,
    /// `env`.
    Env,
}

impl Mount {
    /// Returns the option `key`.
    pub fn option(&self, key: MountKey) -> Option<&MountOption> {
        self.options.iter().find(|option| option.key == key)
    }

    /// Returns the value of the option `key`, unexpanded.
    pub fn value(&self, key: MountKey) -> Option<&Word> {
        self.option(key).and_then(|option| option.value.as_ref())
    }
}
