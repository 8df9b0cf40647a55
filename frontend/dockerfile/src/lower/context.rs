//! Contexts: the build context, and named ones in the place of stages and images.

use super::base::{BaseFiles, scratch};
use super::name::{Naming, location};
use super::stage::Base;
use super::state::StageState;
use super::{Lowered, Lowering};
use crate::context::{BuildContexts, ContextSource, NamedContext, everything};
use crate::diagnostic::{Diagnostic, Severity};
use crate::instruction::{Instruction, MountKey, Statement};
use crate::lint::{self, Report};
use crate::syntax::{Span, Word};
use kiln_oci::Reference;
use kiln_plan::{Unpack, VertexId, VertexMetadata};
use std::collections::BTreeSet;

impl<'a> Lowering<'a> {
    /// Returns the vertex of the build context.
    pub(super) fn context(&mut self) -> VertexId {
        let source = &self.request.options.contexts.main.source;
        let metadata = VertexMetadata {
            name: "[internal] load build context".to_owned(),
            ..VertexMetadata::default()
        };
        // An image is no build context: whoever calls refuses it.
        source
            .add_to(self.plan, &metadata)
            .unwrap_or_else(|| self.nothing())
    }

    fn named(&self, index: usize) -> &'a NamedContext {
        &self.request.options.contexts.named[index]
    }

    /// Returns the image that the stage at `index` starts from, if it is one.
    pub(super) fn base_reference(&self, index: usize) -> Option<Reference> {
        match &self.stages.bases[index] {
            Base::Image(reference) => Some(reference.clone()),
            Base::Context(context) => match &self.named(*context).context.source {
                ContextSource::Image(reference) => Some(reference.clone()),
                _ => None,
            },
            Base::Unknown | Base::Scratch | Base::Stage(_) => None,
        }
    }

    /// Returns the state in which the stage at `index` starts from a named context.
    pub(super) fn context_base(
        &mut self,
        index: usize,
        context: usize,
    ) -> Lowered<(StageState, Option<BaseFiles>)> {
        if let ContextSource::Image(reference) = &self.named(context).context.source {
            return self.image_base(index, reference);
        }
        let platform = self.stage_platform(index);
        let state = scratch(platform, index);
        Ok((state, Some(BaseFiles::Context(context))))
    }

    /// Adds the files of a named context as the root file system of a stage.
    pub(super) fn add_base_context(
        &mut self,
        naming: &mut Naming,
        context: usize,
        statement: &Statement,
    ) -> Option<VertexId> {
        let named = self.named(context);
        let text = format!("FROM {} ({})", named.name(), named.display);
        let metadata = VertexMetadata {
            location: Some(location(self.request, statement)),
            ..self.step_metadata(naming, &text)
        };
        let files = named.context.source.add_to(self.plan, &metadata)?;
        match named.context.source {
            // A directory of this machine is no layer: its files are copied into one.
            ContextSource::Local(_) => {
                let copied = everything(files, ".", Unpack::Never);
                Some(self.plan.add(copied, metadata))
            }
            _ => Some(files),
        }
    }

    /// Returns the files of a named context; `None` for an image without layers.
    pub(super) fn context_files(
        &mut self,
        context: usize,
        span: Span,
        statement: &Statement,
    ) -> Lowered<Option<VertexId>> {
        self.used_contexts.insert(context);
        let named = self.named(context);
        match &named.context.source {
            ContextSource::Image(reference) => self.image_files(reference, span, statement),
            source => {
                let name = format!("[context {}] load {}", named.name(), named.display);
                let metadata = self.source_metadata(name, statement);
                Ok(source.add_to(self.plan, &metadata))
            }
        }
    }

    /// Returns the named contexts that something in the Dockerfile names, by their numbers.
    pub(super) fn take_used_contexts(&mut self) -> BTreeSet<usize> {
        let contexts = &self.request.options.contexts;
        if contexts.named.is_empty() {
            return BTreeSet::new();
        }
        let mut used = std::mem::take(&mut self.used_contexts);
        for (stage, base) in self.stages.all.iter().zip(&self.stages.bases) {
            let name = stage.name.iter();
            used.extend(name.flat_map(|name| contexts.all_named(name)));
            match base {
                Base::Context(context) => {
                    used.extend(contexts.all_named(contexts.named[*context].name()));
                }
                Base::Image(image) => used.extend(contexts.all_named(&image.familiar())),
                Base::Unknown | Base::Scratch | Base::Stage(_) => {}
            }
        }
        let statements = self.request.dockerfile.statements.iter();
        for from in statements.flat_map(sources) {
            used.extend(contexts.all_named(&from.text));
        }
        used
    }
}

/// Adds a warning for each of `contexts` that is not `used`, for any platform.
pub(crate) fn warn_of_unused_contexts(
    contexts: &BuildContexts,
    used: &BTreeSet<usize>,
    report: &mut Report,
) {
    for (index, named) in contexts.named.iter().enumerate() {
        if !used.contains(&index) {
            report.add(unused(named));
        }
    }
}

/// Returns what a statement names as sources, besides the build context.
fn sources(statement: &Statement) -> Vec<&Word> {
    match &statement.instruction {
        Instruction::Copy(copy) => copy.from.iter().collect(),
        Instruction::Run(run) => {
            let mounts = run.mounts.iter();
            mounts
                .filter_map(|mount| mount.value(MountKey::From))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn unused(named: &NamedContext) -> Diagnostic {
    let name = named.name();
    Diagnostic {
        severity: Severity::Warning,
        code: lint::UNUSED_BUILD_CONTEXT.code(),
        message: format!("build context `{name}` is given, but nothing names it"),
        labels: Vec::new(),
        help: None,
    }
}
