//! What a target takes and which targets there are, for those who ask before they build.

use crate::diagnostic::Diagnostics;
use crate::instruction::{Dockerfile, FromBase, Instruction, Statement, parse};
use crate::lint::{Comments, statement_at};
use crate::syntax::{SourceFile, Span};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What a target takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Name of the target, if it has one.
    pub name: Option<String>,
    /// What the comment above it says of it.
    pub description: Option<String>,
    /// Build arguments that it uses, itself or by a stage or default that it needs, in the order
    /// of the file.
    pub arguments: Vec<OutlineArgument>,
    /// Secrets that its commands see, in the order of the file.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents that its commands see, in the order of the file.
    pub agents: Vec<OutlineMount>,
}

/// A build argument of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// Its value: the one given, else the default.
    pub value: Option<String>,
    /// What the comment above it says of it.
    pub description: Option<String>,
    /// Lines of its ARG, from 1.
    pub lines: RangeInclusive<usize>,
}

/// A secret or an SSH agent of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// Lines of the RUN that sees it, from 1.
    pub lines: RangeInclusive<usize>,
}

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStage {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What the comment above it says of it.
    pub description: Option<String>,
    /// What it starts from, as written.
    pub base: String,
    /// Its platform, as written.
    pub platform: Option<String>,
    /// Whether it is built when no target is named.
    pub is_default: bool,
    /// Lines of its FROM, from 1.
    pub lines: RangeInclusive<usize>,
}

/// Returns the stages of `source`.
///
/// Errors: the findings, at least one of which is an error.
pub fn targets(source: &SourceFile) -> Result<Vec<TargetStage>, Diagnostics> {
    let (dockerfile, findings) = parse(source);
    if findings.has_errors() {
        return Err(findings);
    }
    let mut targets: Vec<_> = froms(&dockerfile)
        .map(|(statement, from)| target_stage(&dockerfile, statement, from))
        .collect();
    if let Some(last) = targets.last_mut() {
        last.is_default = true;
    }
    Ok(targets)
}

fn froms(dockerfile: &Dockerfile) -> impl Iterator<Item = (&Statement, &FromBase)> {
    let statements = dockerfile.statements.iter();
    statements.filter_map(|statement| match &statement.instruction {
        Instruction::From(from) => Some((statement, &**from)),
        _ => None,
    })
}

fn target_stage(dockerfile: &Dockerfile, statement: &Statement, from: &FromBase) -> TargetStage {
    let name = from.name.as_ref().map(|name| name.text.to_lowercase());
    TargetStage {
        description: description(dockerfile, statement, name.as_deref()),
        name,
        base: from.image.text.clone(),
        platform: from.platform.as_ref().map(|platform| platform.text.clone()),
        is_default: false,
        lines: statement.lines.clone(),
    }
}

fn description(
    dockerfile: &Dockerfile,
    statement: &Statement,
    name: Option<&str>,
) -> Option<String> {
    let comments = Comments::of(dockerfile);
    comments.description(statement, name?).map(str::to_owned)
}

/// What lowering noted of arguments, secrets and agents.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Arguments before the first FROM.
    pub(crate) globals: Vec<ArgumentNote>,
    /// The stages, in the order of the file.
    pub(crate) stages: Vec<StageNotes>,
    /// The one that is built.
    pub(crate) target: usize,
}

/// What was noted of a stage.
#[derive(Debug, Default)]
pub(crate) struct StageNotes {
    /// Arguments that its FROM uses.
    pub(crate) used: Vec<String>,
    pub(crate) arguments: Vec<ArgumentNote>,
    pub(crate) secrets: Vec<MountNote>,
    pub(crate) agents: Vec<MountNote>,
    /// Stages that it needs, the one it starts from first.
    pub(crate) needs: Vec<usize>,
}

/// An ARG as it was evaluated.
#[derive(Debug)]
pub(crate) struct ArgumentNote {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    /// Variables that its default uses.
    pub(crate) used: Vec<String>,
    /// Whether the value, and all that is said of it, is that of the argument of the same name
    /// before the first FROM.
    pub(crate) is_global: bool,
    pub(crate) span: Span,
}

/// A secret or agent of a RUN.
#[derive(Debug)]
pub(crate) struct MountNote {
    pub(crate) id: String,
    pub(crate) required: bool,
    pub(crate) span: Span,
}

impl Notes {
    /// Returns what the target takes; `dockerfile` is the file that the notes are about.
    pub(crate) fn outline(&self, dockerfile: &Dockerfile) -> Outline {
        let mut outline = Outline::default();
        if let Some((statement, from)) = froms(dockerfile).nth(self.target) {
            let stage = target_stage(dockerfile, statement, from);
            outline.name = stage.name;
            outline.description = stage.description;
        }
        let mut seen = Seen::default();
        self.add_stage(self.target, &mut seen, &mut outline, dockerfile);
        outline
            .arguments
            .sort_by_key(|argument| *argument.lines.start());
        outline.secrets.sort_by_key(|secret| *secret.lines.start());
        outline.agents.sort_by_key(|agent| *agent.lines.start());
        outline
    }

    /// Adds what the stage at `index` takes, then what the stages take that it needs.
    fn add_stage(
        &self,
        index: usize,
        seen: &mut Seen,
        outline: &mut Outline,
        dockerfile: &Dockerfile,
    ) {
        let Some(stage) = self.stages.get(index).filter(|_| seen.stages.insert(index)) else {
            return;
        };
        // The last declaration counts; one that only repeats the name adds nothing to others.
        let (global, own): (Vec<_>, Vec<_>) =
            (stage.arguments.iter().rev()).partition(|argument| argument.is_global);
        for argument in own {
            add_argument(argument, seen, outline, dockerfile);
        }
        for argument in global {
            self.add_global(&argument.name, seen, outline, dockerfile);
        }
        for name in &stage.used {
            self.add_global(name, seen, outline, dockerfile);
        }
        add_mounts(
            &stage.secrets,
            &mut seen.secrets,
            &mut outline.secrets,
            dockerfile,
        );
        add_mounts(
            &stage.agents,
            &mut seen.agents,
            &mut outline.agents,
            dockerfile,
        );
        for needed in &stage.needs {
            self.add_stage(*needed, seen, outline, dockerfile);
        }
    }

    /// Adds the argument `name` before the first FROM, and those that its default uses.
    fn add_global(
        &self,
        name: &str,
        seen: &mut Seen,
        outline: &mut Outline,
        dockerfile: &Dockerfile,
    ) {
        let globals = self.globals.iter().rev();
        let mut declarations = globals.filter(|global| global.name == name);
        let Some(last) = declarations
            .next()
            .filter(|_| !seen.arguments.contains(name))
        else {
            return;
        };
        add_argument(last, seen, outline, dockerfile);
        // A default that uses the older value of the same argument uses what that uses.
        let mut open = Some(last);
        while let Some(declaration) = open {
            for used in &declaration.used {
                self.add_global(used, seen, outline, dockerfile);
            }
            let uses_itself = declaration.used.iter().any(|used| used == name);
            open = declarations.next().filter(|_| uses_itself);
        }
    }
}

/// What is in the outline already.
#[derive(Default)]
struct Seen {
    stages: BTreeSet<usize>,
    arguments: BTreeSet<String>,
    secrets: BTreeSet<String>,
    agents: BTreeSet<String>,
}

fn add_argument(
    note: &ArgumentNote,
    seen: &mut Seen,
    outline: &mut Outline,
    dockerfile: &Dockerfile,
) {
    if !seen.arguments.insert(note.name.clone()) {
        return;
    }
    let Some(statement) = statement_at(dockerfile, note.span) else {
        return;
    };
    outline.arguments.push(OutlineArgument {
        name: note.name.clone(),
        value: note.value.clone(),
        description: description(dockerfile, statement, Some(&note.name)),
        lines: statement.lines.clone(),
    });
}

fn add_mounts(
    notes: &[MountNote],
    seen: &mut BTreeSet<String>,
    mounts: &mut Vec<OutlineMount>,
    dockerfile: &Dockerfile,
) {
    for note in notes {
        if let Some(statement) = statement_at(dockerfile, note.span)
            && seen.insert(note.id.clone())
        {
            mounts.push(OutlineMount {
                id: note.id.clone(),
                required: note.required,
                lines: statement.lines.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
