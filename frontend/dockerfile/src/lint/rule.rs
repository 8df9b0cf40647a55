//! What is known of a rule besides how it is checked.

use crate::diagnostic::Code;

/// Whose rule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The language's: other builders have it under the same name.
    Dockerfile,
    /// Kiln's own.
    Kiln,
}

/// Whether a rule is checked unless it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maturity {
    /// It is.
    Stable,
    /// It is not: `# check=experimental=RULE` asks for it.
    Experimental,
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which findings and `skip=` call it by.
    pub name: &'static str,
    /// What it asks for, in a sentence.
    pub description: &'static str,
    /// Name of its page: `docs/lints/PAGE.md`.
    pub page: &'static str,
    /// Whose it is.
    pub origin: Origin,
    /// Whether it is checked unless asked for.
    pub maturity: Maturity,
}

/// Where the pages of the language's own rules are.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

impl Rule {
    /// Returns the rule `name` of the language.
    pub(super) const fn of_dockerfile(
        name: &'static str,
        page: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            name,
            description,
            page,
            origin: Origin::Dockerfile,
            maturity: Maturity::Stable,
        }
    }

    /// Returns a rule that only Kiln has.
    pub(super) const fn of_kiln(
        name: &'static str,
        page: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            origin: Origin::Kiln,
            ..Self::of_dockerfile(name, page, description)
        }
    }

    /// Returns the rule, only checked when it is asked for.
    pub(super) const fn experimental(self) -> Self {
        Self {
            maturity: Maturity::Experimental,
            ..self
        }
    }

    /// Returns the name as that of a finding.
    pub fn code(&self) -> Code {
        Code(self.name)
    }

    /// Returns the address of the rule's page in the language's documentation, if it has one.
    pub fn url(&self) -> Option<String> {
        // The documentation of the language has no page for this one.
        let has_page = self.origin == Origin::Dockerfile && self.name != "InvalidBaseImagePlatform";
        has_page.then(|| format!("{PAGES}{}/", self.page))
    }
}
