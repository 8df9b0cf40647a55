//! Build arguments: those before the first FROM, those of the platform, those given.

use super::stage::StageSource;
use super::state::StageState;
use super::words::{self, Scope};
use super::{Lowered, Lowering, Request, code, history};
use crate::compile::CompileOptions;
use crate::diagnostic::{Code, Diagnostic, Severity, with_suggestion};
use crate::expand::Variables;
use crate::instruction::{Arg, Argument, Instruction};
use crate::lint::{self, Report};
use crate::syntax::Span;
use kiln_oci::Platform;

/// Arguments that need no ARG to have an effect, in upper case.
const PREDEFINED: [&str; 12] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SOURCE_DATE_EPOCH",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// Proxy variables: the first five of [`PREDEFINED`].
const PROXY_COUNT: usize = 5;

/// What build arguments tell the builder itself.
const BUILDER_ARGUMENTS: [&str; 10] = [
    "BUILDKIT_SYNTAX",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
];

/// Those of [`BUILDER_ARGUMENTS`] that are true or false.
const FLAGS: [&str; 3] = [
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
];

/// Returns the value given for the build argument `name`.
pub(super) fn given<'a>(options: &'a CompileOptions, name: &str) -> Option<&'a str> {
    let given = options.build_args.iter().rev();
    given
        .filter(|(known, _)| known == name)
        .find_map(|(_, value)| value.as_deref())
}

/// Returns whether `text` is true, in the forms that Go reads.
pub(super) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Finds what is wrong with the build arguments that are for the builder, and with platforms.
pub(super) fn check_given(options: &CompileOptions, lint: &mut Report) {
    for name in FLAGS {
        let value = given(options, name).filter(|value| !value.is_empty());
        if let Some(text) = value.filter(|text| parse_flag(text).is_none()) {
            let message = format!("build argument `{name}` is `{text}`: neither true nor false");
            lint.add(without_place(Severity::Error, code::INVALID_VALUE, message));
        }
    }
    for platform in options.platforms.iter().filter(|one| !one.is_known()) {
        let message = format!("`{platform}` is no platform that images are made for");
        let code = lint::UNKNOWN_PLATFORM.code();
        let warning = without_place(Severity::Warning, code, message);
        lint.add(with_suggestion(
            warning,
            &platform.to_string(),
            "",
            &Platform::COMMON,
        ));
    }
    for (name, reason) in WITHOUT_EFFECT {
        if given(options, name).is_some_and(|value| !value.is_empty()) {
            let message = format!("build argument `{name}` has no effect: {reason}");
            lint.add(without_place(
                Severity::Warning,
                lint::IGNORED_BUILD_ARG.code(),
                message,
            ));
        }
    }
}

/// Those of [`BUILDER_ARGUMENTS`] that are not obeyed, and why.
const WITHOUT_EFFECT: [(&str, &str); 1] = [("BUILDKIT_BUILD_NAME", "builds have no names")];

/// Returns a finding about something that is not in the Dockerfile.
fn without_place(severity: Severity, code: Code, message: String) -> Diagnostic {
    Diagnostic {
        severity,
        code,
        message,
        labels: Vec::new(),
        help: None,
    }
}

/// The arguments that FROM sees, and that a stage may take over.
pub(super) struct GlobalArguments {
    values: Vec<(String, Option<String>)>,
    /// Where the default of `SOURCE_DATE_EPOCH` stands.
    epoch_span: Option<Span>,
}

/// The argument that says how late the times of an image may be.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

impl Variables for GlobalArguments {
    fn value(&self, name: &str) -> Option<&str> {
        let values = self.values.iter().rev();
        values
            .filter(|(known, _)| known == name)
            .find_map(|(_, value)| value.as_deref())
    }
}

impl Scope for GlobalArguments {
    fn declares(&self, name: &str) -> bool {
        self.values.iter().any(|(known, _)| known == name)
    }

    fn names(&self) -> Vec<&str> {
        self.values.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl GlobalArguments {
    /// Returns the values of `arguments` and of the platform's. An error leaves one unset.
    pub(super) fn evaluate(
        request: &Request<'_>,
        arguments: &[&Arg],
        target: &StageSource<'_>,
        lint: &mut Report,
    ) -> Self {
        let mut globals = GlobalArguments {
            values: platform_arguments(request, target),
            epoch_span: None,
        };
        let escape = request.dockerfile.directives.escape.character();
        for argument in arguments.iter().flat_map(|arg| &arg.arguments) {
            match evaluate(argument, escape, request.options, &globals, lint) {
                Ok((name, value)) => globals.add(argument, name, value),
                Err(error) => lint.add(error),
            }
        }
        globals
    }

    fn add(&mut self, argument: &Argument, name: String, value: Option<String>) {
        if name == EPOCH {
            let default = argument.default.as_ref();
            self.epoch_span = Some(default.map_or(argument.name.span, |word| word.span));
        }
        self.values.push((name, value));
    }
}

impl GlobalArguments {
    /// Returns the time that `SOURCE_DATE_EPOCH` says, if any; an empty value takes back one
    /// that the environment or the Dockerfile has.
    pub(super) fn source_date_epoch(&self, request: &Request<'_>) -> Lowered<Option<i64>> {
        let text = self.value(EPOCH).unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            let message = format!("{EPOCH} is `{text}`, which is no number of seconds");
            let span = self
                .epoch_span
                .filter(|_| given(request.options, EPOCH).is_none());
            let error = match span {
                Some(span) => Diagnostic::error(code::INVALID_VALUE, span, message),
                None => without_place(Severity::Error, code::INVALID_VALUE, message),
            };
            error.with_help("give the seconds since 1970-01-01 00:00 UTC")
        })
    }
}

/// Returns the name and value of `argument`: the one given, else the default, else none.
fn evaluate(
    argument: &Argument,
    escape: char,
    options: &CompileOptions,
    scope: &impl Scope,
    lint: &mut Report,
) -> Lowered<(String, Option<String>)> {
    let name = words::expansion(&argument.name, escape, scope)?.text;
    if let Some(value) = given(options, &name) {
        return Ok((name, Some(value.to_owned())));
    }
    let Some(default) = &argument.default else {
        return Ok((name, None));
    };
    let expansion = words::expansion(default, escape, scope)?;
    words::check_unset(default, &expansion, scope, lint);
    Ok((name, Some(expansion.text)))
}

fn platform_arguments(
    request: &Request<'_>,
    target: &StageSource<'_>,
) -> Vec<(String, Option<String>)> {
    let mut values = Vec::new();
    add_platform(&mut values, "BUILD", &request.options.build_platform);
    add_platform(&mut values, "TARGET", request.platform);
    let stage = target.name.clone().unwrap_or_else(|| "default".to_owned());
    values.push(("TARGETSTAGE".to_owned(), stage));
    if let Some(seconds) = given(request.options, EPOCH) {
        values.push((EPOCH.to_owned(), seconds.to_owned()));
    }
    let with_given = values.into_iter().map(|(name, value)| {
        let value = given(request.options, &name).map_or(value, str::to_owned);
        (name, Some(value))
    });
    with_given.collect()
}

fn add_platform(values: &mut Vec<(String, String)>, prefix: &str, platform: &Platform) {
    let optional = |value: &Option<String>| value.clone().unwrap_or_default();
    for (suffix, value) in [
        ("PLATFORM", platform.to_string()),
        ("OS", platform.os.clone()),
        ("OSVERSION", optional(&platform.os_version)),
        ("ARCH", platform.architecture.clone()),
        ("VARIANT", optional(&platform.variant)),
    ] {
        values.push((format!("{prefix}{suffix}"), value));
    }
}

/// Returns the proxy variables given, in lower and upper case.
pub(super) fn proxy_environment(options: &CompileOptions) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for name in &PREDEFINED[..PROXY_COUNT] {
        let lower = name.to_lowercase();
        let value = given(options, name).or_else(|| given(options, &lower));
        if let Some(value) = value {
            variables.push(((*name).to_owned(), value.to_owned()));
            variables.push((lower, value.to_owned()));
        }
    }
    variables
}

/// Adds a warning for each build argument given that nothing declares.
///
/// `in_triggers` are the names that triggers of base images declare.
pub(super) fn warn_of_unused(request: &Request<'_>, in_triggers: &[String], lint: &mut Report) {
    let statements = request.dockerfile.statements.iter();
    let declared = statements
        .filter_map(|statement| match &statement.instruction {
            Instruction::Arg(arg) => Some(&arg.arguments),
            _ => None,
        })
        .flatten()
        .map(|argument| argument.name.text.as_str());
    let in_triggers = in_triggers.iter().map(String::as_str);
    let declared: Vec<&str> = declared.chain(in_triggers).collect();
    for (name, _) in &request.options.build_args {
        let upper = name.to_uppercase();
        let is_predefined = PREDEFINED.contains(&upper.as_str())
            || upper.starts_with("TARGET")
            || BUILDER_ARGUMENTS.contains(&name.as_str());
        if !is_predefined && !declared.contains(&name.as_str()) {
            let message = format!("build argument `{name}` is given, but no ARG declares it");
            let warning = without_place(Severity::Warning, lint::UNUSED_BUILD_ARG.code(), message);
            let known: Vec<&str> = declared.iter().copied().chain(BUILDER_ARGUMENTS).collect();
            lint.add(with_suggestion(warning, name, "", &known));
        }
    }
}

impl Lowering<'_> {
    /// Lowers an ARG: from here on its value is seen by words and commands.
    pub(super) fn arg(&mut self, state: &mut StageState, arg: &Arg) -> Lowered<()> {
        let escape = self.escape();
        let mut entries = Vec::new();
        for argument in &arg.arguments {
            let options = self.request.options;
            let lint = &mut *self.lint;
            let (name, value) = evaluate(argument, escape, options, state, lint)?;
            let value = value.or_else(|| self.globals.value(&name).map(str::to_owned));
            entries.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            self.note_argument(state, argument, &name, value.as_deref());
            state.declare_argument(&name, value.as_deref());
            if state.is_in_trigger {
                self.arguments_of_triggers.push(name);
            }
        }
        state.record(history::metadata(format!("ARG {}", entries.join(" "))));
        Ok(())
    }
}
