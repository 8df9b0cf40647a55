//! A failed build, told with the lines of the Dockerfile and the end of the output.

use super::inputs::Inputs;
use crate::error::{Failure, class_of};
use kiln_dockerfile::Diagnostic;
use kiln_engine::{BuildError, BuildRequest, Event, StepChange, StepError};
use kiln_plan::{SourceLocation, VertexId};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Bytes of output kept of each step.
const TAIL_BYTES: usize = 8 * 1024;
/// Lines of output shown of a failed step.
const SHOWN_LINES: usize = 20;

/// The end of each step's output.
#[derive(Default)]
pub struct Tails(Mutex<HashMap<VertexId, Vec<u8>>>);

impl Tails {
    /// Keeps what `event` says of a step's output.
    pub fn watch(&self, event: &Event) {
        if let Event::Step {
            vertex,
            change: StepChange::Output(bytes),
        } = event
        {
            let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let tail = tails.entry(*vertex).or_default();
            tail.extend_from_slice(bytes);
            let surplus = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..surplus);
        }
    }

    fn lines(&self, vertex: VertexId) -> Vec<String> {
        let tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = tails
            .get(&vertex)
            .map(|tail| String::from_utf8_lossy(tail).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.len().saturating_sub(SHOWN_LINES);
        lines[shown..]
            .iter()
            .map(|line| crate::progress::sanitized(line))
            .collect()
    }
}

/// Returns whether a finding is about an image that cannot be had, not about the text.
pub fn is_about_an_image(diagnostic: &Diagnostic) -> bool {
    diagnostic.code.0 == "ImageNotResolved"
}

/// Returns the failure to show for `error`.
pub fn of_build(
    error: BuildError,
    request: &BuildRequest,
    inputs: &Inputs,
    tails: &Tails,
) -> Failure {
    let BuildError::Steps(steps) = error else {
        return Failure::from(error);
    };
    let told = steps
        .iter()
        .filter(|(_, error)| !matches!(error, StepError::Cancelled));
    let mut excerpt = String::new();
    for (vertex, _) in told.clone().skip(1).chain(told.clone().take(1)) {
        add_excerpt(&mut excerpt, *vertex, request, inputs, tails);
    }
    let Some((vertex, first)) = told.clone().next() else {
        return Failure::from(BuildError::Cancelled);
    };
    let name = &request.plan.vertex(*vertex).metadata.name;
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = Failure::caused(class_of(first), format!("{name} failed"), first);
    let failure = failure.with_excerpt(excerpt);
    match hint(first) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

fn hint(error: &StepError) -> Option<String> {
    match error {
        StepError::Exit { code: 127, .. } => {
            Some("a program was not found: is its package installed in this stage?".to_owned())
        }
        StepError::Exit { code: 126, .. } => {
            Some("a file could not be executed: look at its mode and its architecture".to_owned())
        }
        StepError::Copy(kiln_engine::CopyError::SourceMissing { .. }) => Some(
            "sources are relative to the build context, or with --from to the root of that stage"
                .to_owned(),
        ),
        StepError::NotGiven { what, name } => match *what {
            "secret" => Some(format!("give it with --secret id={name},src=FILE")),
            "SSH agent" => Some(format!("give it with --ssh {name}")),
            _ => Some("name a directory as the context of the build".to_owned()),
        },
        StepError::NotAllowed { flag, .. } => Some(format!("allow it with {flag}")),
        StepError::Signal {
            remark: Some(_), ..
        }
        | StepError::Exit {
            remark: Some(_), ..
        } => Some("give the step more memory with --memory, or use less".to_owned()),
        _ => None,
    }
}

fn add_excerpt(
    text: &mut String,
    vertex: VertexId,
    request: &BuildRequest,
    inputs: &Inputs,
    tails: &Tails,
) {
    let lines = tails.lines(vertex);
    if !lines.is_empty() {
        text.push_str("------ last lines of output\n");
        lines
            .iter()
            .for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str("------\n");
    }
    if let Some(location) = &request.plan.vertex(vertex).metadata.location {
        add_source(text, location, inputs.dockerfile.text());
    }
}

/// Lines of the Dockerfile shown before and after those that failed.
const CONTEXT_LINES: usize = 2;

fn add_source(text: &mut String, location: &SourceLocation, source: &str) {
    let _ = writeln!(text, "{}:{}", location.file, location.first_line);
    let first = location.first_line.saturating_sub(CONTEXT_LINES).max(1);
    let last = location.last_line + CONTEXT_LINES;
    let lines = source
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    for (number, line) in lines.filter(|(number, _)| (first..=last).contains(number)) {
        let is_failed = (location.first_line..=location.last_line).contains(&number);
        let mark = if is_failed { ">>>" } else { "   " };
        let _ = writeln!(
            text,
            "{number:4} | {mark} {}",
            crate::progress::sanitized(line)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_lines_are_marked_with_lines_around_them() {
        let location = SourceLocation {
            file: "Dockerfile".to_owned(),
            first_line: 2,
            last_line: 3,
        };
        let mut text = String::new();
        add_source(
            &mut text,
            &location,
            "FROM a\nRUN b \\\n  c\nRUN d\nRUN e\nRUN f\n",
        );
        let expected = "Dockerfile:2\n   1 |     FROM a\n   2 | >>> RUN b \\\n   3 | >>>   c\n   \
            4 |     RUN d\n   5 |     RUN e\n";
        assert_eq!(text, expected);
    }
}
