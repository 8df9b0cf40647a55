//! Instructions to operations, for one platform.
//!
//! Stages that the target needs are lowered in the order they are written in; one that is
//! needed by a trigger only when the trigger is met. Nothing else of the Dockerfile is looked
//! at, save the names of all stages.

mod arguments;
mod base;
pub(crate) mod code;
mod config;
mod context;
mod copy;
mod device;
mod entries;
mod environment;
mod exec;
mod from;
mod healthcheck;
mod history;
mod mounts;
mod name;
mod notes;
mod path;
mod ports;
mod remote;
mod stage;
mod state;
mod trigger;
mod words;

use crate::compile::{CompileOptions, PlannedImage, Scope};
use crate::diagnostic::{Code, Diagnostic};
use crate::instruction::{Dockerfile, Instruction, Statement};
use crate::lint::{self, Report};
use crate::outline::{Notes, StageNotes};
use crate::resolutions::Resolutions;
use crate::syntax::{SourceFile, Span};
use arguments::GlobalArguments;
pub(crate) use context::warn_of_unused_contexts;
use kiln_oci::{ImageConfig, Platform};
use kiln_plan::PlanBuilder;
use stage::Stages;
use state::StageState;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What is lowered, and for whom.
pub(crate) struct Request<'a> {
    pub(crate) source: &'a SourceFile,
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) options: &'a CompileOptions,
    pub(crate) resolutions: &'a Resolutions<'a>,
    pub(crate) platform: &'a Platform,
    pub(crate) is_one_of_several: bool,
}

/// The result of lowering, or what stops it.
type Lowered<T> = Result<T, Diagnostic>;

/// What lowering comes to, besides the plan.
pub(crate) struct Target {
    pub(crate) image: PlannedImage,
    pub(crate) source_date_epoch_seconds: Option<i64>,
    /// The named contexts that it names, by their numbers.
    pub(crate) used_contexts: BTreeSet<usize>,
}

/// Lowers the target of `request`; returns its image.
///
/// What is wrong with one instruction does not keep the others from being looked at: where one
/// of the findings is an error, the image and the plan mean nothing.
pub(crate) fn lower(
    request: &Request<'_>,
    plan: &mut PlanBuilder,
    lint: &mut Report,
) -> Option<Target> {
    let target = Lowering::new(request, plan, lint).and_then(|mut lowering| lowering.target());
    target.map_err(|error| lint.add(error)).ok()
}

/// Lowers the target of `request`; returns what was noted of what it takes.
pub(crate) fn notes(
    request: &Request<'_>,
    plan: &mut PlanBuilder,
    lint: &mut Report,
) -> Option<Notes> {
    let lowered = Lowering::new(request, plan, lint).and_then(|mut lowering| {
        lowering.target()?;
        Ok(lowering.into_notes())
    });
    lowered.map_err(|error| lint.add(error)).ok()
}

/// Returns whether a finding of this name is about the words of one instruction, true whatever
/// stages, images and variables there are.
pub(crate) fn is_about_words(code: Code) -> bool {
    matches!(
        code,
        code::INVALID_PLATFORM
            | code::INVALID_VALUE
            | code::INVALID_MOUNT
            | code::INVALID_COPY
            | code::NOT_ALLOWED
    )
}

/// Makes `config` say what was asked for, whatever the stage was built on.
fn set_platform(config: &mut ImageConfig, platform: &Platform) {
    let is_same = config.os == platform.os && config.architecture == platform.architecture;
    config.os.clone_from(&platform.os);
    config.architecture.clone_from(&platform.architecture);
    if platform.variant.is_some() || !is_same {
        config.variant.clone_from(&platform.variant);
    }
    if platform.os_version.is_some() || !is_same {
        config.os_version.clone_from(&platform.os_version);
    }
    if !platform.os_features.is_empty() {
        config.os_features.clone_from(&platform.os_features);
    }
}

/// How far a stage is.
enum Progress {
    Waiting,
    /// It is being lowered: whoever asks for it now is part of a cycle.
    Started,
    Done(Rc<StageState>),
}

/// The work on one platform.
struct Lowering<'a> {
    request: &'a Request<'a>,
    plan: &'a mut PlanBuilder,
    globals: GlobalArguments,
    stages: Stages<'a>,
    progress: Vec<Progress>,
    arguments_of_triggers: Vec<String>,
    used_contexts: BTreeSet<usize>,
    /// What an outline is made of, for each stage.
    notes: Vec<StageNotes>,
    /// Where all findings go.
    lint: &'a mut Report,
}

impl<'a> Lowering<'a> {
    fn new(
        request: &'a Request<'a>,
        plan: &'a mut PlanBuilder,
        lint: &'a mut Report,
    ) -> Lowered<Self> {
        let split = stage::split(request.dockerfile)?;
        let target = stage::find_target(&split.stages, request.options.target.as_deref())?;
        let globals = GlobalArguments::evaluate(
            request,
            &split.global_arguments,
            &split.stages[target],
            lint,
        );
        from::check(request, &split, &globals, target, lint);
        let stages = Stages::resolve(split, target, request, &globals, lint);
        let notes = notes::of_stages(stages.all.len());
        let progress = stages.all.iter().map(|_| Progress::Waiting).collect();
        Ok(Lowering {
            request,
            plan,
            globals,
            stages,
            progress,
            arguments_of_triggers: Vec::new(),
            used_contexts: BTreeSet::new(),
            notes,
            lint,
        })
    }

    fn target(&mut self) -> Lowered<Target> {
        arguments::check_given(self.request.options, self.lint);
        let epoch = self.globals.source_date_epoch(self.request);
        let source_date_epoch_seconds = self.kept(epoch).flatten();
        let needed = match self.request.options.scope {
            Scope::Target => self.stages.needed(),
            Scope::AllStages => (0..self.stages.all.len()).collect(),
        };
        self.look_for_images(&needed);
        for index in needed {
            self.stage(index, self.stages.all[index].span())?;
        }
        let target = self.stages.target;
        let state = self.stage(target, self.stages.all[target].span())?;
        arguments::warn_of_unused(self.request, &self.arguments_of_triggers, self.lint);
        let used_contexts = self.take_used_contexts();
        let mut config = state.config.clone();
        let labels = self.request.options.labels.iter().cloned();
        config.config.labels.extend(labels);
        if !self.request.options.platforms.is_empty() {
            set_platform(&mut config, self.request.platform);
        }
        let image = PlannedImage {
            platform: config.platform(),
            result: state.result,
            config,
            history: state.history.to_vec(),
        };
        Ok(Target {
            image,
            source_date_epoch_seconds,
            used_contexts,
        })
    }

    /// Returns the state at the end of the stage at `index`, which `span` asks for.
    fn stage(&mut self, index: usize, span: Span) -> Lowered<Rc<StageState>> {
        match &self.progress[index] {
            Progress::Done(state) => return Ok(Rc::clone(state)),
            Progress::Started => {
                let name = self.stages.all[index].display_name();
                let message = format!("stage `{name}` needs itself");
                return Err(Diagnostic::error(code::STAGE_CYCLE, span, message));
            }
            Progress::Waiting => {}
        }
        self.progress[index] = Progress::Started;
        let state = Rc::new(self.lower_stage(index));
        self.progress[index] = Progress::Done(Rc::clone(&state));
        Ok(state)
    }

    /// Returns the state at the end of a stage, in which what is wrong has had no effect.
    fn lower_stage(&mut self, index: usize) -> StageState {
        let source = self.stages.all[index].clone();
        let base = self.base(index);
        let (mut state, files) = match self.kept(base) {
            Some(base) => base,
            None => (base::unknown(self.request.platform, index), None),
        };
        let triggers = match source.replaced {
            // The context is the stage: triggers wait for who starts from it.
            Some(_) => Vec::new(),
            None => trigger::take(&mut state, source.span(), self.lint),
        };
        let statements = || triggers.iter().chain(source.statements);
        state.naming = self.naming(index, files.is_some(), statements());
        if let Some(files) = files {
            state.result = self.add_base(&mut state.naming, files, source.statement);
        }
        state.is_in_trigger = true;
        for statement in &triggers {
            let lowered = self.statement(&mut state, statement);
            let lowered =
                lowered.map_err(|error| trigger::relocate(error, statement, source.span()));
            self.note(&mut state, statement, lowered);
        }
        state.is_in_trigger = false;
        for statement in source.statements {
            let lowered = self.statement(&mut state, statement);
            self.note(&mut state, statement, lowered);
        }
        state
    }

    /// Returns what was `lowered`; an error becomes a finding.
    fn kept<T>(&mut self, lowered: Lowered<T>) -> Option<T> {
        lowered.map_err(|error| self.lint.add(error)).ok()
    }

    /// Keeps an error of `statement`, unless it may come of an earlier one.
    fn note(&mut self, state: &mut StageState, statement: &Statement, lowered: Lowered<()>) {
        let Err(error) = lowered else {
            return;
        };
        if !state.knows_variables() && statement.text.contains('$') {
            return;
        }
        if matches!(
            statement.instruction,
            Instruction::Env(_) | Instruction::Arg(_)
        ) {
            state.forget_variables();
        }
        self.lint.add(error);
    }

    fn statement(&mut self, state: &mut StageState, statement: &Statement) -> Lowered<()> {
        if !state.is_in_trigger {
            let shell = &state.config.config.shell;
            let shell_is_chosen = shell.as_ref().is_some_and(|shell| !shell.is_empty());
            lint::check_in_stage(statement, shell_is_chosen, &mut state.lint, self.lint);
        }
        match &statement.instruction {
            Instruction::Run(run) => self.run(state, statement, run),
            Instruction::Copy(copy) => self.copy(state, statement, copy),
            Instruction::Add(add) => self.add(state, statement, add),
            Instruction::Workdir(workdir) => self.workdir(state, statement, workdir),
            Instruction::Arg(arg) => self.arg(state, arg),
            Instruction::From(_) => Err(Diagnostic::error(
                code::UNEXPECTED_FROM,
                statement.span,
                "FROM cannot stand here",
            )),
            other => self.change_config(state, statement, other),
        }
    }

    /// Returns the escape character of the Dockerfile.
    fn escape(&self) -> char {
        self.request.dockerfile.directives.escape.character()
    }
}
