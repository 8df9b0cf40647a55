//! Build arguments: those before the first FROM, those of the platform, those given.

use super::stage::{StageSource, Stages};
use super::state::StageState;
use super::{Lowered, Lowering, Request, code, history, words};
use crate::compile::CompileOptions;
use crate::diagnostic::{Diagnostic, Severity};
use crate::expand::Variables;
use crate::instruction::{Arg, Argument, Instruction};
use crate::lint::{self, Report};
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

/// Returns the value given for the build argument `name`.
pub(super) fn given<'a>(options: &'a CompileOptions, name: &str) -> Option<&'a str> {
    let given = options.build_args.iter().rev();
    given
        .filter(|(known, _)| known == name)
        .find_map(|(_, value)| value.as_deref())
}

/// The arguments that FROM sees, and that a stage may take over.
pub(super) struct GlobalArguments {
    values: Vec<(String, Option<String>)>,
}

impl Variables for GlobalArguments {
    fn value(&self, name: &str) -> Option<&str> {
        let values = self.values.iter().rev();
        values
            .filter(|(known, _)| known == name)
            .find_map(|(_, value)| value.as_deref())
    }
}

impl GlobalArguments {
    /// Returns the values of `arguments` and of the platform's.
    pub(super) fn evaluate(
        request: &Request<'_>,
        arguments: &[&Arg],
        target: &StageSource<'_>,
        lint: &mut Report,
    ) -> Lowered<Self> {
        let mut globals = GlobalArguments {
            values: platform_arguments(request, target),
        };
        let escape = request.dockerfile.directives.escape.character();
        for argument in arguments.iter().flat_map(|arg| &arg.arguments) {
            let (name, value) = evaluate(argument, escape, request.options, &globals, lint)?;
            globals.values.push((name, value));
        }
        Ok(globals)
    }
}

impl GlobalArguments {
    /// Returns the time that `SOURCE_DATE_EPOCH` says, if any.
    pub(super) fn source_date_epoch(&self, stages: &Stages<'_>) -> Lowered<Option<i64>> {
        let text = self.value("SOURCE_DATE_EPOCH").unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            let message = format!("SOURCE_DATE_EPOCH is `{text}`, which is no number of seconds");
            let span = stages.all[stages.target].span();
            Diagnostic::error(code::UNSUPPORTED, span, message)
                .with_help("give the seconds since 1970-01-01 00:00 UTC")
        })
    }
}

/// Returns the name and value of `argument`: the one given, else the default, else none.
fn evaluate(
    argument: &Argument,
    escape: char,
    options: &CompileOptions,
    scope: &impl Variables,
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
    words::warn_of_unset(&lint::UNDEFINED_VAR, default, &expansion, lint);
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
    if let Some(seconds) = given(request.options, "SOURCE_DATE_EPOCH") {
        values.push(("SOURCE_DATE_EPOCH".to_owned(), seconds.to_owned()));
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
pub(super) fn warn_of_unused(request: &Request<'_>, lint: &mut Report) {
    let statements = request.dockerfile.statements.iter();
    let declared: Vec<&str> = statements
        .filter_map(|statement| match &statement.instruction {
            Instruction::Arg(arg) => Some(&arg.arguments),
            _ => None,
        })
        .flatten()
        .map(|argument| argument.name.text.as_str())
        .collect();
    for (name, _) in &request.options.build_args {
        let upper = name.to_uppercase();
        let is_predefined = PREDEFINED.contains(&upper.as_str())
            || upper.starts_with("TARGET")
            || name.starts_with("BUILDKIT_");
        if !is_predefined && !declared.contains(&name.as_str()) {
            lint.add(Diagnostic {
                severity: Severity::Warning,
                code: lint::UNUSED_BUILD_ARG.code(),
                message: format!("build argument `{name}` is given, but no ARG declares it"),
                labels: Vec::new(),
                help: None,
            });
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
            let (name, value) = evaluate(argument, escape, options, state, self.lint)?;
            let value = value.or_else(|| self.globals.value(&name).map(str::to_owned));
            entries.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            state.declare_argument(&name, value.as_deref());
        }
        state.record(history::metadata(format!("ARG {}", entries.join(" "))));
        Ok(())
    }
}
