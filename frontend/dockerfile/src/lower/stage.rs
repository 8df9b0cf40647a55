//! The stages of a Dockerfile: what each starts from, and which of them the target needs.

use super::arguments::GlobalArguments;
use super::words;
use super::{Lowered, Request, code};
use crate::diagnostic::{Diagnostic, with_suggestion};
use crate::instruction::{Arg, Dockerfile, FromBase, Instruction, MountKey, Statement};
use crate::lint::{self, Report};
use crate::syntax::{Span, Word};
use kiln_oci::{Platform, Reference};
use std::collections::HashMap;

/// A Dockerfile cut at its FROMs.
pub(super) struct Split<'a> {
    pub(super) global_arguments: Vec<&'a Arg>,
    pub(super) stages: Vec<StageSource<'a>>,
}

/// A stage as written.
#[derive(Clone)]
pub(super) struct StageSource<'a> {
    pub(super) index: usize,
    pub(super) statement: &'a Statement,
    pub(super) from: &'a FromBase,
    /// The instructions after FROM.
    pub(super) statements: &'a [Statement],
    /// The name in lower case.
    pub(super) name: Option<String>,
    pub(super) is_only: bool,
    /// The number of the named context that stands in for the stage.
    pub(super) replaced: Option<usize>,
}

impl StageSource<'_> {
    /// Returns where the stage's FROM stands.
    pub(super) fn span(&self) -> Span {
        self.statement.span
    }

    /// Returns the name, made up where there is none; empty for a nameless only stage.
    pub(super) fn display_name(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None if self.is_only => String::new(),
            None => format!("stage-{}", self.index),
        }
    }
}

/// What a stage starts from.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// Its name is wrong, which has been said.
    Unknown,
    Scratch,
    Stage(usize),
    Image(Reference),
    /// The named context of this number.
    Context(usize),
}

/// All stages, with what they start from.
pub(super) struct Stages<'a> {
    /// Where the stages of each name stand, in order.
    by_name: HashMap<String, Vec<usize>>,
    pub(super) all: Vec<StageSource<'a>>,
    pub(super) bases: Vec<Base>,
    /// `--platform` of each; `None` where it is the platform that is built for.
    pub(super) platforms: Vec<Option<Platform>>,
    pub(super) target: usize,
}

/// Returns `dockerfile` cut in stages.
///
/// Errors: no FROM, or something but ARG before the first one.
pub(super) fn split(dockerfile: &Dockerfile) -> Lowered<Split<'_>> {
    let statements = dockerfile.statements.as_slice();
    let is_from = |statement: &Statement| matches!(statement.instruction, Instruction::From(_));
    let first = statements.iter().position(is_from);
    let (before, mut rest) = statements.split_at(first.unwrap_or(statements.len()));
    let global_arguments = global_arguments(before)?;
    let mut stages = Vec::new();
    while let [statement, after @ ..] = rest {
        let Instruction::From(from) = &statement.instruction else {
            break;
        };
        let end = after.iter().position(is_from).unwrap_or(after.len());
        let (statements, next) = after.split_at(end);
        rest = next;
        stages.push(StageSource {
            index: stages.len(),
            statement,
            from,
            statements,
            name: from.name.as_ref().map(|name| name.text.to_lowercase()),
            is_only: false,
            replaced: None,
        });
    }
    match stages.as_mut_slice() {
        [] => {
            let span = before.last().map_or(Span::default(), |last| last.span);
            let message = "there is no FROM, so there is no stage to build";
            return Err(Diagnostic::error(code::NO_STAGES, span, message));
        }
        [only] => only.is_only = true,
        _ => {}
    }
    Ok(Split {
        global_arguments,
        stages,
    })
}

fn global_arguments(before: &[Statement]) -> Lowered<Vec<&Arg>> {
    let arguments = before.iter().map(|statement| match &statement.instruction {
        Instruction::Arg(arg) => Ok(arg),
        _ => {
            let message = "only ARG may stand before the first FROM";
            Err(Diagnostic::error(
                code::BEFORE_FROM,
                statement.span,
                message,
            ))
        }
    });
    arguments.collect()
}

/// Returns the stage that `target` names, by name or number; the last one without it.
pub(super) fn find_target(stages: &[StageSource<'_>], target: Option<&str>) -> Lowered<usize> {
    let last = stages.len() - 1;
    let Some(target) = target.filter(|target| !target.is_empty()) else {
        return Ok(last);
    };
    let number = target.parse().ok().filter(|index| *index <= last);
    by_name(stages, target).or(number).ok_or_else(|| {
        let message = format!("there is no stage `{target}` to build");
        let names = names(stages);
        let error = Diagnostic::error(code::UNKNOWN_TARGET, stages[last].span(), message);
        let error = match names.as_slice() {
            [] => error.with_help("no stage has a name; stages can be named by number, from 0"),
            names => error.with_help(format!("the stages are: {}", names.join(", "))),
        };
        with_suggestion(error, target, "", &names)
    })
}

/// Returns the names of stages that have one.
pub(super) fn names<'s>(stages: &'s [StageSource<'_>]) -> Vec<&'s str> {
    stages
        .iter()
        .filter_map(|stage| stage.name.as_deref())
        .collect()
}

fn by_name(stages: &[StageSource<'_>], name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    stages
        .iter()
        .rposition(|stage| stage.name.as_deref() == Some(&name))
}

/// Returns where the stages of each name stand, in order.
fn places(stages: &[StageSource<'_>]) -> HashMap<String, Vec<usize>> {
    let mut places = HashMap::<String, Vec<usize>>::new();
    for (index, stage) in stages.iter().enumerate() {
        if let Some(name) = &stage.name {
            places.entry(name.clone()).or_default().push(index);
        }
    }
    places
}

impl<'a> Stages<'a> {
    /// Finds what every stage of `split` starts from; what is wrong with it is a finding.
    pub(super) fn resolve(
        split: Split<'a>,
        target: usize,
        request: &Request<'_>,
        globals: &GlobalArguments,
        lint: &mut Report,
    ) -> Self {
        let mut stages = Stages {
            by_name: places(&split.stages),
            all: split.stages,
            bases: Vec::new(),
            platforms: Vec::new(),
            target,
        };
        let escape = request.dockerfile.directives.escape.character();
        for index in 0..stages.all.len() {
            let asked_for = platform(stages.all[index].from, escape, globals, lint);
            let asked_for = kept(asked_for, lint).flatten();
            let platform = asked_for.clone().unwrap_or(request.platform.clone());
            stages.platforms.push(asked_for);
            let contexts = &request.options.contexts;
            let name = stages.all[index].name.as_deref();
            if let Some(context) = name.and_then(|name| contexts.find(name, &platform)) {
                stages.replace(index, context);
                continue;
            }
            let image = &stages.all[index].from.image;
            let base = words::expansion(image, escape, globals).and_then(|expansion| {
                let context = contexts.find(&expansion.text, &platform);
                stages.base_named(&expansion.text, index, image.span, context)
            });
            stages.bases.push(kept(base, lint).unwrap_or(Base::Unknown));
        }
        stages
    }

    /// Puts a named context in the place of the stage at `index`, of which nothing else counts.
    fn replace(&mut self, index: usize, context: usize) {
        let stage = &mut self.all[index];
        stage.statements = &[];
        stage.replaced = Some(context);
        self.bases.push(Base::Context(context));
    }

    fn base_named(
        &self,
        name: &str,
        index: usize,
        span: Span,
        context: Option<usize>,
    ) -> Lowered<Base> {
        if name.is_empty() {
            let message = "the image of FROM is empty once its variables are expanded";
            return Err(Diagnostic::error(code::INVALID_IMAGE, span, message));
        }
        if let Some(stage) = self.named_before(name, index) {
            return Ok(Base::Stage(stage));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some(context) = context {
            return Ok(Base::Context(context));
        }
        Ok(Base::Image(image_reference(name, span)?))
    }

    /// Returns the last stage called `name` before the one at `index`.
    fn named_before(&self, name: &str, index: usize) -> Option<usize> {
        let places = self.by_name.get(&name.to_lowercase())?;
        let before = places.partition_point(|place| *place < index);
        before.checked_sub(1).map(|last| places[last])
    }

    /// Returns the stage that `--from` or `from=` names: one before `limit`, or none, when it is
    /// the name of an image.
    pub(super) fn find(&self, from: &Word, limit: usize) -> Lowered<Option<usize>> {
        let Ok(number) = from.text.parse::<usize>() else {
            return Ok(self.named_before(&from.text, limit));
        };
        if number < limit.min(self.all.len()) {
            return Ok(Some(number));
        }
        let message = format!("there is no earlier stage {number}");
        Err(Diagnostic::error(code::UNKNOWN_STAGE, from.span, message))
    }

    /// Returns where the stage `name` at or after `index` starts.
    pub(super) fn later(&self, name: &str, index: usize) -> Option<Span> {
        let last = self.named_before(name, self.all.len());
        let later = last.filter(|last| *last >= index)?;
        Some(self.all[later].span())
    }

    /// Returns the stages that the target needs without regard to triggers, in order.
    pub(super) fn needed(&self) -> Vec<usize> {
        let mut is_needed = vec![false; self.all.len()];
        let mut open = vec![self.target];
        while let Some(index) = open.pop() {
            if !std::mem::replace(&mut is_needed[index], true) {
                open.extend(self.dependencies(index));
            }
        }
        (0..self.all.len())
            .filter(|index| is_needed[*index])
            .collect()
    }

    /// Returns the stages that the one at `index` needs, the one it starts from first.
    pub(super) fn dependencies(&self, index: usize) -> Vec<usize> {
        let base = match self.bases[index] {
            Base::Stage(stage) => Some(stage),
            Base::Unknown | Base::Scratch | Base::Image(_) | Base::Context(_) => None,
        };
        let statements = self.all[index].statements.iter();
        let named = statements.flat_map(|statement| match &statement.instruction {
            Instruction::Copy(copy) => copy.from.iter().collect(),
            Instruction::Run(run) => run
                .mounts
                .iter()
                .filter_map(|mount| mount.value(MountKey::From))
                .collect(),
            _ => Vec::new(),
        });
        // What names no stage is found out, and told, when the statement is lowered.
        let named = named.filter_map(|from| self.find(from, index).ok().flatten());
        base.into_iter().chain(named).collect()
    }
}

fn kept<T>(lowered: Lowered<T>, lint: &mut Report) -> Option<T> {
    lowered.map_err(|error| lint.add(error)).ok()
}

/// Returns the platform that `from` asks for, if it does.
fn platform(
    from: &FromBase,
    escape: char,
    globals: &GlobalArguments,
    lint: &mut Report,
) -> Lowered<Option<Platform>> {
    let Some(word) = &from.platform else {
        return Ok(None);
    };
    let expansion = words::expansion(word, escape, globals)?;
    let text = expansion.text;
    if text.is_empty() {
        let message = "the platform of FROM is empty once its variables are expanded";
        return Err(Diagnostic::error(
            code::INVALID_PLATFORM,
            word.span,
            message,
        ));
    }
    let platform: Platform = text.parse().map_err(|error: kiln_oci::PlatformError| {
        let message = format!("`{text}` is no platform");
        let error = Diagnostic::error(code::INVALID_PLATFORM, word.span, message)
            .with_text(error.to_string());
        with_suggestion(error, &text, "", &Platform::COMMON)
    })?;
    if !platform.is_known() {
        let message = format!("`{text}` is no platform that images are made for");
        let warning = Diagnostic::warning(lint::UNKNOWN_PLATFORM.code(), word.span, message);
        lint.add(with_suggestion(warning, &text, "", &Platform::COMMON));
    }
    Ok(Some(platform))
}

/// Returns the image that `name` names.
pub(super) fn image_reference(name: &str, span: Span) -> Lowered<Reference> {
    name.parse().map_err(|error: kiln_oci::ReferenceError| {
        Diagnostic::error(code::INVALID_IMAGE, span, error.to_string())
    })
}
