//! What is asked about a Dockerfile instead of building it: `--call`, and `kiln check`.

use clap::{Args, ValueEnum};

/// What `kiln build --call` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: CallMethod,
    pub format: CallFormat,
    pub status: CallStatus,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallMethod {
    /// No call: the image is built.
    Build,
    /// What rules find.
    Check,
    /// What the target takes.
    Outline,
    /// Which targets there are.
    Targets,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFormat {
    Text,
    Json,
}

/// Whether what was found is told by the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStatus {
    Told,
    Ignored,
}

impl Call {
    /// Returns the call that `--check` stands for.
    pub fn check() -> Self {
        Call {
            method: CallMethod::Check,
            format: CallFormat::Text,
            status: CallStatus::Told,
        }
    }
}

/// Parses `METHOD[,format=text|json][,ignorestatus[=true|false]]`.
pub fn parse_call(text: &str) -> Result<Call, String> {
    let mut call = Call {
        method: CallMethod::Build,
        ..Call::check()
    };
    for (number, field) in text.split(',').enumerate() {
        match field.split_once('=').unwrap_or((field, "")) {
            ("format", "json") => call.format = CallFormat::Json,
            ("format", "text" | "") => call.format = CallFormat::Text,
            ("ignorestatus", "" | "true" | "1") => call.status = CallStatus::Ignored,
            ("ignorestatus", "false" | "0") => call.status = CallStatus::Told,
            ("format" | "ignorestatus", value) => {
                return Err(format!("`{value}` is no value of it: {FORMS}"));
            }
            (method, "") if number == 0 => call.method = parse_method(method)?,
            _ => return Err(format!("unknown option `{field}`: {FORMS}")),
        }
    }
    Ok(call)
}

const FORMS: &str = "write it as METHOD[,format=text|json][,ignorestatus]";

fn parse_method(text: &str) -> Result<CallMethod, String> {
    match text {
        "build" => Ok(CallMethod::Build),
        "check" | "lint" => Ok(CallMethod::Check),
        "outline" => Ok(CallMethod::Outline),
        "targets" => Ok(CallMethod::Targets),
        _ => Err("the methods are build, check, outline and targets".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Directories of build contexts, or Dockerfiles
    #[arg(default_value = ".", value_name = "PATH")]
    pub paths: Vec<String>,
    /// Dockerfile [default: PATH/Dockerfile]; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// Value of a build argument; from the environment without value (repeatable)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Additional named build context (repeatable)
    #[arg(long, value_name = "NAME=DIR")]
    pub build_context: Vec<String>,
    /// Check this stage and what it needs [default: all stages]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Platform to check for
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Vec<String>,
    /// Ask no registry: base images that the store does not have stay unknown
    #[arg(long)]
    pub offline: bool,
    /// How findings are printed
    #[arg(long, value_enum, default_value = "text")]
    pub format: CheckFormat,
}

/// How `kiln check` prints findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// The lines of the file, with marks.
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_follow_the_table() {
        use CallFormat::{Json, Text};
        use CallMethod::{Build, Check, Outline, Targets};
        use CallStatus::{Ignored, Told};
        for (text, method, format, status) in [
            ("build", Build, Text, Told),
            ("check", Check, Text, Told),
            ("lint", Check, Text, Told),
            ("check,format=json", Check, Json, Told),
            ("check,format=text,ignorestatus", Check, Text, Ignored),
            ("check,ignorestatus=true", Check, Text, Ignored),
            (
                "outline,format=json,ignorestatus=false",
                Outline,
                Json,
                Told,
            ),
            ("targets", Targets, Text, Told),
        ] {
            let expected = Call {
                method,
                format,
                status,
            };
            assert_eq!(parse_call(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "chek",
            "check,format=xml",
            "check,outline",
            "check,x=1",
            "check,ignorestatus=2",
        ] {
            assert!(parse_call(text).is_err(), "{text}");
        }
    }
}
