//! `SOURCE_DATE_EPOCH` by name: the time of a context, or of what a stage adds.
//!
//! | value | time |
//! |---|---|
//! | `context`, the name of a context | of its commit, its last change, the newest file of its archive |
//! | a stage `FROM scratch` with one ADD from elsewhere | of what that adds |
//!
//! Without any value the time of a context in git is that of its commit.
//!
//! A name is replaced by its time before anything else is done, so that steps see a number.

use crate::compile::{CompileOptions, ImageResolver, ResolveError, compile};
use crate::context::{Context, ContextSource};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::instruction::{Dockerfile, Instruction};
use crate::lower::code;
use crate::syntax::{SourceFile, Span, Word};
use kiln_plan::{FileAction, Op, Plan, Unpack};

/// The argument that says how late the times of an image may be.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Returns `options` with the time that the name in `SOURCE_DATE_EPOCH` stands for; nothing if
/// it is no name of anything.
///
/// Errors: what is named has no time, or cannot be asked for it.
pub(crate) fn with_time(
    source: &SourceFile,
    dockerfile: &Dockerfile,
    options: &CompileOptions,
    resolver: &dyn ImageResolver,
) -> Result<Option<CompileOptions>, Diagnostics> {
    let Some((name, span)) = named(dockerfile, options) else {
        return Ok(with_commit_time(dockerfile, options, resolver));
    };
    let found = match context(&name, options) {
        Some(context) => match context.modified_seconds {
            Some(seconds) => Ok(Some(seconds)),
            None => resolver.source_time(&context.source),
        },
        None => match stage_source(&name, source, options, resolver) {
            Some(source) => resolver.source_time(&source),
            None => return Ok(None),
        },
    };
    let seconds = found.map_err(|error| refused(&name, &reason_of(&error), span))?;
    let seconds = seconds.ok_or_else(|| refused(&name, "it has no time of its own", span))?;
    Ok(Some(at(options, seconds)))
}

/// Returns `options` with the time of the commit that the build context is, where nothing else
/// is said: a commit has a time that says more than that of the build.
fn with_commit_time(
    dockerfile: &Dockerfile,
    options: &CompileOptions,
    resolver: &dyn ImageResolver,
) -> Option<CompileOptions> {
    let context = &options.contexts.main;
    let is_said = options.build_args.iter().any(|(name, _)| name == EPOCH);
    if is_said || default(dockerfile).is_some() || !matches!(context.source, ContextSource::Git(_))
    {
        return None;
    }
    let known = context.modified_seconds;
    let seconds = known.or_else(|| resolver.source_time(&context.source).ok().flatten());
    seconds.map(|seconds| at(options, seconds))
}

fn at(options: &CompileOptions, seconds: i64) -> CompileOptions {
    let mut options = options.clone();
    options.build_args.retain(|(given, _)| given != EPOCH);
    let value = Some(seconds.to_string());
    options.build_args.push((EPOCH.to_owned(), value));
    options
}

/// Returns the value that was given, or that the Dockerfile has before its first FROM, if it is
/// no number; and where it stands.
fn named(dockerfile: &Dockerfile, options: &CompileOptions) -> Option<(String, Option<Span>)> {
    let given = options.build_args.iter().rev();
    let given = given
        .filter(|(name, _)| name == EPOCH)
        .find_map(|(_, value)| value.clone());
    let (value, span) = match given {
        Some(value) => (value, None),
        None => {
            let word = default(dockerfile)?;
            let value = word.text.trim_matches(['"', '\'']).to_owned();
            (value, Some(word.span))
        }
    };
    let is_name = !value.is_empty() && value.parse::<i64>().is_err() && !value.contains('$');
    is_name.then_some((value, span))
}

fn default(dockerfile: &Dockerfile) -> Option<&Word> {
    let statements = dockerfile.statements.iter();
    let before_from = statements
        .map(|statement| &statement.instruction)
        .take_while(|instruction| !matches!(instruction, Instruction::From(_)));
    let arguments = before_from.filter_map(|instruction| match instruction {
        Instruction::Arg(arg) => Some(&arg.arguments),
        _ => None,
    });
    let named = arguments
        .flatten()
        .filter(|argument| argument.name.text == EPOCH);
    named.last()?.default.as_ref()
}

fn context<'o>(name: &str, options: &'o CompileOptions) -> Option<&'o Context> {
    if name == "context" {
        return Some(&options.contexts.main);
    }
    let platform = options.platforms.first().unwrap_or(&options.build_platform);
    let found = options.contexts.find(name, platform)?;
    Some(&options.contexts.named[found].context)
}

/// Returns the one thing that the stage `name` adds to nothing, if it does just that.
fn stage_source(
    name: &str,
    source: &SourceFile,
    options: &CompileOptions,
    resolver: &dyn ImageResolver,
) -> Option<ContextSource> {
    let mut options = options.clone();
    options.target = Some(name.to_owned());
    options
        .build_args
        .push((EPOCH.to_owned(), Some(String::new())));
    let compilation = compile(source, &options, resolver).ok()?;
    sole_source(&compilation.plan)
}

fn sole_source(plan: &Plan) -> Option<ContextSource> {
    let mut found = None;
    let mut is_unpacked = false;
    for (_, vertex) in plan.vertices() {
        match &vertex.op {
            Op::Http(http) if found.is_none() => found = Some(ContextSource::File(http.clone())),
            Op::Git(git) if found.is_none() => found = Some(ContextSource::Git(git.clone())),
            Op::File(file) if file.base.is_none() => {
                is_unpacked = file.actions.iter().any(|action| {
                    matches!(action, FileAction::Copy(copy) if copy.unpack == Unpack::Detect)
                });
            }
            _ => return None,
        }
    }
    match found {
        Some(ContextSource::File(http)) if is_unpacked => Some(ContextSource::Archive(http)),
        found => found,
    }
}

fn reason_of(error: &ResolveError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn refused(name: &str, reason: &str, span: Option<Span>) -> Diagnostics {
    let message = format!("{EPOCH} cannot be the time of `{name}`: {reason}");
    let error = match span {
        Some(span) => Diagnostic::error(code::INVALID_VALUE, span, message),
        None => Diagnostic {
            severity: Severity::Error,
            code: code::INVALID_VALUE,
            message,
            labels: Vec::new(),
            help: None,
        },
    };
    Diagnostics(vec![
        error.with_help("give the seconds since 1970-01-01 00:00 UTC"),
    ])
}
