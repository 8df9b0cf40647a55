//! Rules: what may be wrong with a Dockerfile that builds all the same.
//!
//! A rule is a file of this folder and an entry of [`RULES`]. It reads the statements, or a
//! fact that lowering hands over, and reports; what the file or the options skip is dropped
//! there. Rules about the text see the whole file, the others the stages that are lowered.

mod casing;
mod comments;
mod place;
mod report;
mod rule;
mod rules;
mod settings;

mod consistent_instruction_casing;
pub(crate) mod copy_ignored_file;
mod duplicate_stage_name;
pub(crate) mod expose_invalid_format;
pub(crate) mod expose_proto_casing;
mod from_as_casing;
pub(crate) mod from_platform_flag_const_disallowed;
pub(crate) mod invalid_base_image_platform;
mod invalid_check;
pub(crate) mod invalid_default_arg_in_from;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod multiple_instructions_disallowed;
pub(crate) mod redundant_target_platform;
mod reserved_stage_name;
mod secrets_used_in_arg_or_env;
mod stage_name_casing;
pub(crate) mod undefined_arg_in_from;
pub(crate) mod undefined_var;
pub(crate) mod workdir_relative_path;

#[cfg(test)]
mod tests;

pub use place::Places;
pub use rule::{Maturity, Origin, Rule};
pub use rules::{RULES, rule_named};

pub(crate) use comments::Comments;
pub(crate) use report::{Report, statement_at};
pub(crate) use rules::*;
pub(crate) use settings::Settings;

use crate::diagnostic::{Diagnostics, Severity};
use crate::instruction::{Dockerfile, Instruction, Statement};
use crate::syntax::{Span, Word};

/// Runs the rules about the text of `dockerfile` alone, and reports what the parser `found`.
///
/// After an error less is known: then only instructions before it are checked, each alone.
pub(crate) fn check_text(dockerfile: &Dockerfile, found: Diagnostics, report: &mut Report) {
    let errors = found
        .0
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    let first_error = errors.filter_map(|error| error.labels.first());
    let end = first_error.map(|label| label.span.start).min();
    found.0.into_iter().for_each(|finding| report.add(finding));
    invalid_check::check(dockerfile, report);
    let comments = Comments::of(dockerfile);
    for statement in &dockerfile.statements {
        if end.is_none_or(|end| statement.span.start < end) {
            check_alone(statement, comments, report);
        }
    }
    if !report.has_errors() {
        duplicate_stage_name::check(&dockerfile.statements, report);
        reserved_stage_name::check(&dockerfile.statements, report);
        consistent_instruction_casing::check(&dockerfile.statements, report);
    }
}

/// Runs the rules that need to know nothing but the statement.
fn check_alone(statement: &Statement, comments: Comments<'_>, report: &mut Report) {
    match &statement.instruction {
        Instruction::From(from) => {
            stage_name_casing::check(from, report);
            from_as_casing::check(statement, from, report);
            if report.wants(&INVALID_DEFINITION_DESCRIPTION) {
                let name = from.name.as_ref().map(|name| name.text.to_lowercase());
                let names: Vec<&str> = name.iter().map(String::as_str).collect();
                invalid_definition_description::check("FROM", statement, &names, comments, report);
            }
        }
        Instruction::Arg(arg) if report.wants(&INVALID_DEFINITION_DESCRIPTION) => {
            let names = arg.arguments.iter();
            let names: Vec<&str> = names.map(|argument| argument.name.text.as_str()).collect();
            invalid_definition_description::check("ARG", statement, &names, comments, report);
        }
        Instruction::Maintainer(_) => maintainer_deprecated::check(statement, report),
        _ => {}
    }
}

/// What rules remember of the instructions of a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageFacts {
    /// Whether there was a WORKDIR, here or in the stage this one starts from.
    has_workdir: bool,
    cmd: Option<Span>,
    entrypoint: Option<Span>,
    healthcheck: Option<Span>,
}

impl StageFacts {
    /// Returns what a stage takes over that starts from this one.
    pub(crate) fn next_stage(&self) -> Self {
        Self {
            has_workdir: self.has_workdir,
            ..Self::default()
        }
    }
}

/// Runs the rules about a statement of a stage that is lowered; `shell_is_chosen` says
/// whether SHELL, here or below, chose the shell.
pub(crate) fn check_in_stage(
    statement: &Statement,
    shell_is_chosen: bool,
    facts: &mut StageFacts,
    report: &mut Report,
) {
    match &statement.instruction {
        Instruction::Cmd(cmd) => {
            multiple_instructions_disallowed::check(statement, &mut facts.cmd, report);
            json_args_recommended::check(statement, &cmd.command, shell_is_chosen, report);
        }
        Instruction::Entrypoint(entry) => {
            multiple_instructions_disallowed::check(statement, &mut facts.entrypoint, report);
            json_args_recommended::check(statement, &entry.command, shell_is_chosen, report);
        }
        Instruction::Healthcheck(_) => {
            multiple_instructions_disallowed::check(statement, &mut facts.healthcheck, report);
        }
        Instruction::Env(env) => {
            if env.is_legacy {
                legacy_key_value_format::check(statement, &env.pairs, report);
            }
            let keys = env.pairs.iter().map(|pair| &pair.key);
            keys.for_each(|key| secrets_used_in_arg_or_env::check("ENV", key, report));
        }
        Instruction::Label(label) if label.is_legacy => {
            legacy_key_value_format::check(statement, &label.pairs, report);
        }
        Instruction::Arg(arg) => {
            let keys = arg.arguments.iter().map(|argument| &argument.name);
            keys.for_each(|key| secrets_used_in_arg_or_env::check("ARG", key, report));
        }
        _ => {}
    }
}

/// Returns the names of the stages, in lower case, and where they stand.
fn stage_names(statements: &[Statement]) -> impl Iterator<Item = (String, &Word)> {
    let names = statements
        .iter()
        .filter_map(|statement| match &statement.instruction {
            Instruction::From(from) => from.name.as_ref(),
            _ => None,
        });
    names.map(|name| (name.text.to_lowercase(), name))
}
