//! FROM: what a stage starts from.

use super::name::Naming;
use super::stage::{self, Base, image_reference};
use super::state::StageState;
use super::{Lowered, Lowering, code};
use crate::compile::ResolvedBase;
use crate::diagnostic::{Diagnostic, with_suggestion};
use crate::instruction::Statement;
use crate::lint;
use crate::syntax::{Span, Word};
use kiln_oci::{ChainId, ImageConfig, Platform, Reference};
use kiln_plan::{ImageSource, Op, VertexId};
use std::error::Error;

/// Search path of commands when the base image has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What becomes the root file system of a stage.
pub(super) enum BaseFiles {
    Image(Box<ImageSource>),
    /// The files of the named context of this number.
    Context(usize),
}

impl Lowering<'_> {
    /// Returns the state in which the stage at `index` starts, and what is to become its root
    /// file system, unless another stage's.
    pub(super) fn base(&mut self, index: usize) -> Lowered<(StageState, Option<BaseFiles>)> {
        match self.stages.bases[index].clone() {
            Base::Unknown => Ok((unknown(self.request.platform, index), None)),
            Base::Scratch => {
                let platform = self.stage_platform(index);
                Ok((scratch(platform, index), None))
            }
            Base::Stage(parent) => {
                let span = self.stages.all[index].from.image.span;
                let state = self.stage(parent, span)?;
                Ok((state.next_stage(index), None))
            }
            Base::Image(reference) => self.image_base(index, &reference),
            Base::Context(context) => self.context_base(index, context),
        }
    }

    pub(super) fn image_base(
        &mut self,
        index: usize,
        reference: &Reference,
    ) -> Lowered<(StageState, Option<BaseFiles>)> {
        let platform = self.stage_platform(index);
        let span = self.stages.all[index].from.image.span;
        let resolved = self.resolve(reference, &platform, span)?;
        let source = image_source(reference, &resolved);
        let mut config = resolved.config;
        config.created = None;
        let mut state = StageState::new(config, resolved.platform, index);
        add_default_path(&mut state);
        let source = source.map(|image| BaseFiles::Image(Box::new(image)));
        Ok((state, source))
    }

    /// Looks for the images that the stages `needed` start from, all at once.
    pub(super) fn look_for_images(&mut self, needed: &[usize]) {
        let mut wanted = Vec::new();
        for index in needed {
            if let Some(reference) = self.base_reference(*index) {
                wanted.push((reference, self.stage_platform(*index)));
            }
        }
        self.request.resolutions.look_for(wanted);
    }

    pub(super) fn stage_platform(&self, index: usize) -> Platform {
        let platform = self.stages.platforms[index].as_ref();
        platform.unwrap_or(self.request.platform).clone()
    }

    /// Returns whether what was built for `offered` may stand in where nobody asked for a
    /// platform: its programs run on this machine.
    fn may_stand_in(&self, offered: &Platform, asked_for: &Platform) -> bool {
        let options = self.request.options;
        let is_implicit = options.platforms.is_empty() && asked_for == self.request.platform;
        let is_other =
            (&offered.os, &offered.architecture) != (&asked_for.os, &asked_for.architecture);
        let emulation = options.emulation.as_ref();
        is_implicit && is_other && emulation.is_some_and(|emulation| emulation.has(offered))
    }

    pub(super) fn resolve(
        &mut self,
        reference: &Reference,
        platform: &Platform,
        span: Span,
    ) -> Lowered<ResolvedBase> {
        let resolved = self.request.resolutions.get(reference, platform);
        let resolved = resolved.map_err(|error| {
            let message = format!("cannot find image {reference} for {platform}");
            let error: &(dyn Error + 'static) = &*error;
            let error =
                Diagnostic::error(code::IMAGE_NOT_FOUND, span, message).with_text(chain(error));
            self.suggest_stage(error, &reference.familiar())
        })?;
        let offered = &resolved.platform;
        if !self.may_stand_in(offered, platform) {
            let name = self.written_name(reference, span);
            lint::invalid_base_image_platform::check(&name, span, platform, offered, self.lint);
        }
        Ok(resolved)
    }

    /// Returns the name of the image `reference` as it is written at `span`; its usual name
    /// where that is put together from variables, or stands in a trigger.
    fn written_name(&self, reference: &Reference, span: Span) -> String {
        let written = self.request.source.slice(span);
        match written.parse::<Reference>() {
            Ok(same) if same == *reference => written.to_owned(),
            _ => reference.familiar(),
        }
    }

    /// Returns `error` with the stage whose name `word` may be a slip of.
    fn suggest_stage(&self, error: Diagnostic, word: &str) -> Diagnostic {
        with_suggestion(error, word, "", &stage::names(&self.stages.all))
    }

    /// Adds the root file system that a stage starts from.
    pub(super) fn add_base(
        &mut self,
        naming: &mut Naming,
        files: BaseFiles,
        statement: &Statement,
    ) -> Option<VertexId> {
        match files {
            BaseFiles::Image(image) => self.add_base_image(naming, *image, statement),
            BaseFiles::Context(context) => self.add_base_context(naming, context, statement),
        }
    }

    fn add_base_image(
        &mut self,
        naming: &mut Naming,
        image: ImageSource,
        statement: &Statement,
    ) -> Option<VertexId> {
        let pinned = image.reference.with_digest(image.digest.clone());
        let mut metadata = self.step_metadata(naming, &format!("FROM {pinned}"));
        metadata.location = Some(super::name::location(self.request, statement));
        // A pinned image is what it is: disregarding the cache would only unpack it again.
        metadata.ignore_cache = false;
        Some(self.plan.add(Op::Image(image), metadata))
    }

    /// Returns the result that `--from` or `from=` names: a stage's or an image's; `None` for
    /// one without files.
    pub(super) fn named_source(
        &mut self,
        state: &StageState,
        from: &Word,
        statement: &Statement,
    ) -> Lowered<Option<VertexId>> {
        // A trigger was written elsewhere: it may name any stage but the one that it is part of.
        let limit = match state.is_in_trigger {
            true => usize::MAX,
            false => state.index,
        };
        if let Some(index) = self.stages.find(from, limit)? {
            return Ok(self.stage(index, from.span)?.result);
        }
        let platform = self.request.platform;
        if let Some(context) = self.request.options.contexts.find(&from.text, platform) {
            return self.context_files(context, from.span, statement);
        }
        if let Some(later) = self.stages.later(&from.text, state.index) {
            let message = format!("stage `{}` does not come before this one", from.text);
            let error = Diagnostic::error(code::LATER_STAGE, from.span, message);
            return Err(error.with_label(later, "it starts here"));
        }
        let reference = image_reference(&from.text, from.span)
            .map_err(|error| self.suggest_stage(error, &from.text))?;
        self.image_files(&reference, from.span, statement)
    }

    /// Returns the files of the image `reference`; `None` for one without layers.
    pub(super) fn image_files(
        &mut self,
        reference: &Reference,
        span: Span,
        statement: &Statement,
    ) -> Lowered<Option<VertexId>> {
        let resolved = self.resolve(reference, self.request.platform, span)?;
        Ok(image_source(reference, &resolved).map(|image| {
            let pinned = image.reference.with_digest(image.digest.clone());
            let metadata = self.source_metadata(format!("FROM {pinned}"), statement);
            self.plan.add(Op::Image(image), metadata)
        }))
    }
}

/// Returns the root file system of an image; `None` when it has no layers.
fn image_source(reference: &Reference, resolved: &ResolvedBase) -> Option<ImageSource> {
    let chain_id = ChainId::of(&resolved.config.rootfs.diff_ids)?;
    Some(ImageSource {
        reference: reference.clone(),
        digest: resolved.digest.clone(),
        platform: resolved.platform.clone(),
        chain_id: Some(chain_id),
    })
}

/// Returns the state of a stage of whose base nothing is known.
pub(super) fn unknown(platform: &Platform, index: usize) -> StageState {
    let mut state = scratch(platform.clone(), index);
    state.forget_variables();
    // Not the root, so that what is relative to it is not taken for the root.
    state.config.config.working_dir = "/unknown".to_owned();
    state
}

pub(super) fn scratch(platform: Platform, index: usize) -> StageState {
    let mut config = ImageConfig::new(&platform);
    config.config.working_dir = "/".to_owned();
    let mut state = StageState::new(config, platform, index);
    add_default_path(&mut state);
    state
}

fn add_default_path(state: &mut StageState) {
    let variables = &state.config.config.env;
    let has_path = variables
        .iter()
        .any(|variable| variable.starts_with("PATH="));
    if !has_path && state.platform.os != "windows" {
        state.set_environment("PATH", DEFAULT_PATH);
    }
}

/// Returns an error and its causes on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
