//! What the rules about FROM need to know.

use super::Request;
use super::arguments::GlobalArguments;
use super::stage::{Split, StageSource};
use super::words::{self, Scope};
use crate::compile::CompileOptions;
use crate::expand::{Expansion, Variables};
use crate::lint::{self, Report};

/// Checks every FROM, whether its stage is needed or not.
pub(super) fn check(
    request: &Request<'_>,
    split: &Split<'_>,
    globals: &GlobalArguments,
    target: usize,
    lint: &mut Report,
) {
    if lint.has_errors() {
        // An argument is wrong: what uses it may be right.
        return;
    }
    let escape = request.dockerfile.directives.escape.character();
    let defaults = defaults(request, split, target);
    for stage in &split.stages {
        let image = &stage.from.image;
        let uses_variables = image.text.contains('$');
        // What cannot be expanded is told when the stage is looked at.
        if uses_variables && let Ok(expansion) = words::expansion(image, escape, globals) {
            let unset = words::unset(image, &expansion);
            lint::undefined_arg_in_from::check(unset, &globals.names(), lint);
        }
        if uses_variables
            && let Some(defaults) = &defaults
            && let Ok(expansion) = words::expansion(image, escape, defaults)
        {
            lint::invalid_default_arg_in_from::check(image, &expansion.text, lint);
        }
        if let Some(word) = &stage.from.platform
            && let Ok(expansion) = words::expansion(word, escape, globals)
        {
            check_platform(stage, &expansion, globals, lint);
        }
    }
}

fn check_platform(
    stage: &StageSource<'_>,
    expansion: &Expansion,
    globals: &GlobalArguments,
    lint: &mut Report,
) {
    let Some(word) = &stage.from.platform else {
        return;
    };
    let name = stage.name.as_deref();
    let unset = words::unset(word, expansion);
    lint::undefined_arg_in_from::check(unset, &globals.names(), lint);
    lint::redundant_target_platform::check(word, expansion, globals.value("TARGETPLATFORM"), lint);
    lint::from_platform_flag_const_disallowed::check(word, expansion, name, lint);
}

/// Returns the arguments as they are when none is given; nothing where no FROM needs them, or
/// where they come to an error: then there is nothing to say.
fn defaults(request: &Request<'_>, split: &Split<'_>, target: usize) -> Option<GlobalArguments> {
    let mut images = split.stages.iter().map(|stage| &stage.from.image);
    if !images.any(|image| image.text.contains('$')) {
        return None;
    }
    let options = CompileOptions {
        build_args: Vec::new(),
        ..request.options.clone()
    };
    let request = Request {
        options: &options,
        ..*request
    };
    let target = &split.stages[target];
    let mut errors = Report::default();
    let defaults =
        GlobalArguments::evaluate(&request, &split.global_arguments, target, &mut errors);
    (!errors.has_errors()).then_some(defaults)
}
