//! What vertices are called: `[build 2/5] RUN make`.

use super::state::StageState;
use super::{Lowering, Request};
use crate::diagnostic::printable;
use crate::instruction::{Instruction, Statement};
use kiln_plan::{SourceLocation, VertexMetadata, remote};
use std::borrow::Cow;

/// Counts the steps of a stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Naming {
    prefix: String,
    step: usize,
    total: usize,
    ignore_cache: bool,
    /// Lines whose steps disregard recorded results.
    ignored_lines: Vec<usize>,
    /// Location of what stands outside the Dockerfile: that of the FROM that brings it in.
    trigger_location: Option<SourceLocation>,
}

impl Naming {
    /// Returns `text` with the stage and the number of the next step before it.
    fn step(&mut self, text: &str) -> String {
        self.step += 1;
        let width = self.total.to_string().len();
        format!(
            "[{}{:>width$}/{}] {text}",
            self.prefix, self.step, self.total
        )
    }
}

/// Returns whether an instruction counts as a step.
fn is_step(statement: &Statement) -> bool {
    matches!(
        statement.instruction,
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_)
    )
}

impl Lowering<'_> {
    /// Returns the naming of the stage at `index`, made of `statements`.
    pub(super) fn naming<'s>(
        &self,
        index: usize,
        has_image: bool,
        statements: impl Iterator<Item = &'s Statement>,
    ) -> Naming {
        let options = self.request.options;
        let source = &self.stages.all[index];
        let name = source.display_name();
        let platform = match self.request.is_one_of_several {
            true => format!("{} ", self.request.platform),
            false => String::new(),
        };
        let stage = match name.as_str() {
            "" => String::new(),
            name => format!("{name} "),
        };
        let is_named = |filter: &String| filter.to_lowercase() == name;
        let ignored = options.no_cache_lines.iter();
        let ignored = ignored.filter(|(stage, _)| stage.as_ref().is_none_or(is_named));
        let steps = statements.filter(|statement| is_step(statement)).count();
        Naming {
            prefix: format!("{platform}{stage}"),
            step: 0,
            total: usize::from(has_image) + steps,
            ignore_cache: options.no_cache || options.no_cache_stages.iter().any(is_named),
            ignored_lines: ignored.map(|(_, line)| *line).collect(),
            trigger_location: Some(location(self.request, source.statement)),
        }
    }

    /// Returns the metadata of the next step.
    pub(super) fn step_metadata(&self, naming: &mut Naming, text: &str) -> VertexMetadata {
        VertexMetadata {
            name: naming.step(text),
            location: None,
            ignore_cache: naming.ignore_cache,
            platform: self
                .request
                .is_one_of_several
                .then(|| self.request.platform.clone()),
        }
    }

    /// Returns the metadata of the step that `statement` is.
    pub(super) fn metadata(
        &self,
        state: &mut StageState,
        statement: &Statement,
        summary: Option<&str>,
    ) -> VertexMetadata {
        let text = display_text(statement, summary);
        let metadata = self.step_metadata(&mut state.naming, &text);
        let location = match state.is_in_trigger {
            true => state.naming.trigger_location.clone(),
            false => Some(location(self.request, statement)),
        };
        let mut ignored = state.naming.ignored_lines.iter();
        let is_ignored = !state.is_in_trigger && ignored.any(|line| statement.lines.contains(line));
        VertexMetadata {
            location,
            ignore_cache: metadata.ignore_cache || is_ignored,
            ..metadata
        }
    }

    /// Returns the metadata of something fetched for `statement`: not a step of its own.
    pub(super) fn source_metadata(&self, name: String, statement: &Statement) -> VertexMetadata {
        VertexMetadata {
            name: printable(&name),
            location: Some(location(self.request, statement)),
            ignore_cache: false,
            platform: None,
        }
    }
}

/// Returns where `statement` stands.
pub(super) fn location(request: &Request<'_>, statement: &Statement) -> SourceLocation {
    SourceLocation {
        file: request.source.name().to_owned(),
        first_line: *statement.lines.start(),
        last_line: *statement.lines.end(),
    }
}

/// Returns the instruction on one line, its keyword in upper case, white space made single.
fn display_text(statement: &Statement, summary: Option<&str>) -> String {
    let words = statement.text.split_whitespace().map(remote::redacted);
    let words: Vec<Cow<'_, str>> = words.collect();
    let text = words.join(" ");
    let keyword = &statement.keyword.text;
    let text = match text.strip_prefix(keyword.as_str()) {
        Some(rest) => format!("{}{rest}", keyword.to_uppercase()),
        None => text,
    };
    printable(&match summary {
        Some(summary) => format!("{text} ({summary})"),
        None => text,
    })
}

/// Returns the first line of a here-document, marked when there are more.
pub(super) fn summary_of(body: &str) -> String {
    let mut lines = body.trim().lines();
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.next() {
        Some(_) => format!("{first}..."),
        None => first,
    }
}
