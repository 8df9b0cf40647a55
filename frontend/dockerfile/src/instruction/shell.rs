//! `SHELL ["PROGRAM", "ARGUMENT"…]`.

use super::Line;
use crate::diagnostic::{Code, Diagnostic};

/// The shell of the shell forms that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// The program and its arguments; at least one.
    pub arguments: Vec<String>,
}

impl Shell {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        let words = line.json()?.ok_or_else(|| not_json(&line))?;
        if words.is_empty() {
            return Err(line.missing("a program"));
        }
        Ok(Self {
            arguments: words.into_iter().map(|word| word.text).collect(),
        })
    }
}

fn not_json(line: &Line<'_, '_>) -> Diagnostic {
    let span = if line.arguments.is_empty() {
        line.keyword.span()
    } else {
        line.arguments.span()
    };
    Diagnostic::error(Code::INVALID_JSON_FORM, span, "SHELL needs the JSON form")
        .with_help("write it as `SHELL [\"/bin/sh\", \"-c\"]`")
}
