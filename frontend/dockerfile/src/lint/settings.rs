//! Which rules are checked, and what comes of it when one is broken.

use super::{Maturity, Rule};
use crate::diagnostic::Diagnostic;
use crate::syntax::{Check, Directives, Span, Word};

/// Build argument that stands for the directive of the file.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What `# check=` says.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    check: Check,
}

impl Settings {
    /// Returns the settings of a file with `directives`, built with `build_args`.
    ///
    /// Errors: the build argument is malformed.
    pub(crate) fn of(
        directives: &Directives,
        build_args: &[(String, Option<String>)],
    ) -> Result<Self, Diagnostic> {
        let given = build_args.iter().rev().find(|(name, _)| name == ARGUMENT);
        let check = match given.and_then(|(_, value)| value.as_deref()) {
            Some(value) if value.trim().is_empty() => Check::default(),
            Some(value) => Check::parse(&Word::new(value, Span::default())).map_err(of_argument)?,
            None => directives.check.clone().unwrap_or_default(),
        };
        Ok(Self { check })
    }

    /// Says whether `rule` is checked.
    pub(super) fn wants(&self, rule: &Rule) -> bool {
        match rule.maturity {
            Maturity::Stable => !self.check.skips(rule.name),
            Maturity::Experimental => {
                let is_skipped = names(&self.check.skip, rule.name);
                names_or_all(&self.check.experimental, rule.name) && !is_skipped
            }
        }
    }

    /// Says whether a broken rule fails the build.
    pub(crate) fn fails(&self) -> bool {
        self.check.error
    }
}

impl Check {
    /// Says whether it skips the rule `name`.
    pub(super) fn skips(&self, name: &str) -> bool {
        names_or_all(&self.skip, name)
    }
}

fn names(words: &[Word], name: &str) -> bool {
    words.iter().any(|word| word.text == name)
}

fn names_or_all(words: &[Word], name: &str) -> bool {
    names(words, "all") || names(words, name)
}

/// Says that it is the argument that is wrong: there is no place to point at.
fn of_argument(error: Diagnostic) -> Diagnostic {
    Diagnostic {
        message: format!("build argument {ARGUMENT}: {}", error.message),
        labels: Vec::new(),
        ..error
    }
}
