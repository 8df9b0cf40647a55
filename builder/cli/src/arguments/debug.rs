//! The arguments of `kiln debug`, and what a build does when it fails.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct DebugArguments {
    /// Step to enter: a number, a part of the name, STAGE:LINE or :LINE [default: the one that
    /// failed]
    pub step: Option<String>,
    /// Build that the step is of [default: the latest]
    #[arg(long, value_name = "ID")]
    pub build: Option<String>,
    /// Enter with the files that the step started from, not with those that it left
    #[arg(long)]
    pub before: bool,
    /// Secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=NAME] (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,
    /// SSH agent for RUN --mount=type=ssh: default|ID[=SOCKET] (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,
    /// Privileges that the step may ask for, as for build (repeatable)
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Program and arguments to run there [default: the shell of the step]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What a build does when a step fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Opens a shell in the step.
    Shell,
    /// Writes the files that the step left to this directory.
    Export(PathBuf),
}

/// Returns what `text` asks for: `shell` or `export=DIR`.
pub(super) fn on_failure(text: &str) -> Result<OnFailure, String> {
    match text.split_once('=') {
        None if text == "shell" => Ok(OnFailure::Shell),
        Some(("export", directory)) if !directory.is_empty() => {
            Ok(OnFailure::Export(directory.into()))
        }
        _ => Err("it is shell or export=DIR".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_leads_to_a_shell_or_a_directory() {
        assert_eq!(on_failure("shell"), Ok(OnFailure::Shell));
        let export = OnFailure::Export("out/a=b".into());
        assert_eq!(on_failure("export=out/a=b"), Ok(export));
        for text in ["", "export", "export=", "shell=sh", "sh"] {
            assert!(on_failure(text).is_err(), "{text}");
        }
    }
}
