//! Upper and lower case of keywords.

/// How a keyword is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Casing {
    Lower,
    Upper,
}

impl Casing {
    /// Returns the case of `word`; `None` for a mixed one.
    pub(super) fn of(word: &str) -> Option<Self> {
        [Self::Lower, Self::Upper]
            .into_iter()
            .find(|casing| casing.holds(word))
    }

    /// Says whether all of `word` is in this case.
    pub(super) fn holds(self, word: &str) -> bool {
        match self {
            // Keywords are ASCII: anything else is no keyword.
            Self::Lower => !word.bytes().any(|byte| byte.is_ascii_uppercase()),
            Self::Upper => !word.bytes().any(|byte| byte.is_ascii_lowercase()),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lower => "lowercase",
            Self::Upper => "uppercase",
        }
    }
}
