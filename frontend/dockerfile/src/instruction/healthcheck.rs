//! `HEALTHCHECK NONE` and `HEALTHCHECK [flags] CMD COMMAND`.

use std::time::Duration;

use super::duration::parse_duration;
use super::{Command, Line};
use crate::diagnostic::{Code, Diagnostic, quoted, with_suggestion};

/// How a container's health is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// Not at all, whatever the base image says.
    None,
    /// By running a command.
    Probe(Box<Probe>),
}

/// A command and when it runs. An absent or zero value is inherited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is run.
    pub command: Command,
    /// `--interval`.
    pub interval: Option<Duration>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--start-period`.
    pub start_period: Option<Duration>,
    /// `--start-interval`.
    pub start_interval: Option<Duration>,
    /// `--retries`.
    pub retries: Option<u32>,
}

const FLAGS: [&str; 5] = [
    "interval",
    "timeout",
    "start-period",
    "start-interval",
    "retries",
];

impl Healthcheck {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        let (kind, rest) = line.arguments.cut_word();
        match kind.text().to_ascii_uppercase().as_str() {
            "NONE" if rest.is_empty() => {
                line.ignore_flags();
                Ok(Self::None)
            }
            "NONE" => {
                let message = "HEALTHCHECK NONE takes no arguments";
                Err(Diagnostic::error(
                    Code::INVALID_ARGUMENT,
                    rest.span(),
                    message,
                ))
            }
            "CMD" => Ok(Self::Probe(Box::new(Probe::parse(&mut line)?))),
            "" => Err(line.missing("`CMD` or `NONE`")),
            _ => {
                let message = format!("unknown kind {} of HEALTHCHECK", quoted(kind.text()));
                let error = Diagnostic::error(Code::INVALID_ARGUMENT, kind.span(), message);
                let error =
                    error.with_help("write `HEALTHCHECK CMD COMMAND` or `HEALTHCHECK NONE`");
                Err(with_suggestion(error, kind.text(), "", &["CMD", "NONE"]))
            }
        }
    }
}

impl Probe {
    fn parse(line: &mut Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&FLAGS, &[]);
        let interval = duration(line, "interval");
        let timeout = duration(line, "timeout");
        let start_period = duration(line, "start-period");
        let start_interval = duration(line, "start-interval");
        let retries = retries(line);
        let (_, command) = line.arguments.cut_word();
        let command = Command::parse_fragment(line, command)?;
        if command == Command::Exec(Vec::new()) {
            return Err(line.missing("a command"));
        }
        Ok(Self {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        })
    }
}

/// Returns the duration of the flag `name`; zero says nothing.
fn duration(line: &mut Line<'_, '_>, name: &str) -> Option<Duration> {
    let value = line.flag_word(name)?;
    match parse_duration(&value.text) {
        Some(Duration::ZERO) => None,
        Some(duration) if duration >= Duration::from_millis(1) => Some(duration),
        _ => {
            let message = format!("{} is no duration for `--{name}`", quoted(&value.text));
            let finding = Diagnostic::error(Code::INVALID_FLAG_VALUE, value.span, message);
            let help = "write it as `30s`, `1m30s`, `500ms`; the least is 1ms";
            line.findings.push(finding.with_help(help));
            None
        }
    }
}

fn retries(line: &mut Line<'_, '_>) -> Option<u32> {
    let value = line
        .flag_word("retries")
        .filter(|value| !value.text.is_empty())?;
    let retries = value
        .text
        .parse::<u32>()
        .ok()
        .filter(|count| i32::try_from(*count).is_ok());
    if retries.is_none() {
        let message = format!("{} is no number of retries", quoted(&value.text));
        line.findings.push(Diagnostic::error(
            Code::INVALID_FLAG_VALUE,
            value.span,
            message,
        ));
    }
    retries
}
