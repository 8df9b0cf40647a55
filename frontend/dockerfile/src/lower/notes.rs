//! What is noted of arguments, secrets and agents, for an outline.

use super::words;
use super::{Lowering, StageState};
use crate::expand::Variables;
use crate::instruction::Argument;
use crate::outline::{ArgumentNote, MountNote, Notes, StageNotes};
use crate::syntax::Word;
use kiln_plan::{Mount, MountKind};

impl Lowering<'_> {
    /// Notes an ARG of a stage, which came to `value`.
    pub(super) fn note_argument(
        &mut self,
        state: &StageState,
        argument: &Argument,
        name: &str,
        value: Option<&str>,
    ) {
        let is_given = super::arguments::given(self.request.options, name).is_some();
        let is_own = is_given || argument.default.is_some();
        let note = ArgumentNote {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            used: Vec::new(),
            is_global: !is_own && self.globals.value(name).is_some(),
            span: argument.name.span,
        };
        if !state.is_in_trigger {
            self.notes[state.index].arguments.push(note);
        }
    }

    /// Notes the secrets and agents among the `mounts` of a RUN at `span`.
    pub(super) fn note_mounts(&mut self, state: &StageState, span: crate::Span, mounts: &[Mount]) {
        let span = match state.is_in_trigger {
            true => self.stages.all[state.index].span(),
            false => span,
        };
        let notes = &mut self.notes[state.index];
        for mount in mounts {
            let (kind, id, required) = match &mount.kind {
                MountKind::Secret { id, required, .. } => (&mut notes.secrets, id, required),
                MountKind::Ssh { id, required, .. } => (&mut notes.agents, id, required),
                _ => continue,
            };
            kind.push(MountNote {
                id: id.clone(),
                required: *required,
                span,
            });
        }
    }

    /// Returns everything that was noted.
    pub(super) fn into_notes(mut self) -> Notes {
        let mut stages = std::mem::take(&mut self.notes);
        for (index, notes) in stages.iter_mut().enumerate() {
            let from = self.stages.all[index].from;
            let words = [Some(&from.image), from.platform.as_ref()];
            notes.used = words
                .into_iter()
                .flatten()
                .flat_map(|word| self.used(word))
                .collect();
            notes.needs = self.stages.dependencies(index);
        }
        Notes {
            globals: self.global_notes(),
            stages,
            target: self.stages.target,
        }
    }

    fn global_notes(&self) -> Vec<ArgumentNote> {
        let statements = self.request.dockerfile.statements.iter();
        let globals = statements.map_while(|statement| match &statement.instruction {
            crate::Instruction::Arg(arg) => Some(&arg.arguments),
            _ => None,
        });
        let notes = globals.flatten().map(|argument| {
            let name = &argument.name.text;
            let is_given = super::arguments::given(self.request.options, name).is_some();
            let default = argument.default.as_ref().filter(|_| !is_given);
            ArgumentNote {
                name: name.clone(),
                value: self.globals.value(name).map(str::to_owned),
                used: default.map(|word| self.used(word)).unwrap_or_default(),
                is_global: false,
                span: argument.name.span,
            }
        });
        notes.collect()
    }

    /// Returns the arguments that a word before the stages, or of a FROM, uses.
    fn used(&self, word: &Word) -> Vec<String> {
        let expansion = words::expansion(word, self.escape(), &self.globals);
        expansion
            .map(|expansion| expansion.used)
            .unwrap_or_default()
    }
}

/// Returns empty notes of `count` stages.
pub(super) fn of_stages(count: usize) -> Vec<StageNotes> {
    std::iter::repeat_with(StageNotes::default)
        .take(count)
        .collect()
}
