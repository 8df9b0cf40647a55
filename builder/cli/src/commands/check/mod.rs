//! `kiln check`: what rules find in Dockerfiles, for people, programs and code review.

mod github;
mod json;
mod place;
mod sarif;
mod text;

use super::{build, call};
use crate::arguments::{BuildArguments, CheckArguments, CheckFormat, GlobalArguments};
use crate::error::{Class, Failure};
use kiln_dockerfile::{Diagnostic, Severity, SourceFile};
use kiln_transfer::pull::PullPolicy;
use std::path::Path;

/// A Dockerfile and what was found in it.
pub struct Checked {
    pub source: SourceFile,
    pub findings: Vec<Diagnostic>,
}

pub fn run(global: &GlobalArguments, arguments: &CheckArguments) -> Result<(), Failure> {
    if arguments.file.is_some() && arguments.paths.len() > 1 {
        let message = "--file names the Dockerfile of one context, not of several";
        return Err(Failure::usage(message).with_hint("name the Dockerfiles themselves"));
    }
    let (session, cancellation) = build::start(global)?;
    let mut checked = Vec::new();
    for path in &arguments.paths {
        let build = build_arguments(arguments, path);
        let policy = policy(arguments);
        let (source, compiled) = build::check(&session, &cancellation, &build, policy)?;
        let mut findings = call::findings(compiled).0;
        if arguments.offline {
            findings.retain(|finding| !build::is_about_an_image(finding));
        }
        checked.push(Checked { source, findings });
    }
    let answer = match arguments.format {
        CheckFormat::Text => text::answer(&checked),
        CheckFormat::Json => json::answer(&checked),
        CheckFormat::Sarif => sarif::answer(&checked),
        CheckFormat::Github => github::answer(&checked),
    };
    crate::output::write(format_args!("{answer}"));
    verdict(&checked)
}

fn policy(arguments: &CheckArguments) -> PullPolicy {
    match arguments.offline {
        true => PullPolicy::Never,
        false => PullPolicy::Missing,
    }
}

/// Returns the arguments of the build that `path`, a context or a Dockerfile, stands for.
fn build_arguments(arguments: &CheckArguments, path: &str) -> BuildArguments {
    let (context, file) = match (&arguments.file, Path::new(path)) {
        (None, file) if file.is_file() => {
            let directory = file.parent().map(|parent| parent.display().to_string());
            let directory = directory.filter(|directory| !directory.is_empty());
            (
                directory.unwrap_or_else(|| ".".to_owned()),
                Some(path.to_owned()),
            )
        }
        (file, _) => (path.to_owned(), file.clone()),
    };
    BuildArguments {
        file,
        build_arg: arguments.build_arg.clone(),
        build_context: arguments.build_context.clone(),
        target: arguments.target.clone(),
        platform: arguments.platform.clone(),
        check: true,
        ..BuildArguments::of_context(context)
    }
}

/// Errors fail as a build would, warnings as a check.
fn verdict(checked: &[Checked]) -> Result<(), Failure> {
    let findings = checked.iter().flat_map(|checked| &checked.findings);
    match findings.map(|finding| finding.severity).max() {
        None => Ok(()),
        Some(Severity::Warning) => Err(Failure::silent(Class::Check)),
        Some(Severity::Error) => Err(Failure::silent(Class::Dockerfile)),
    }
}
