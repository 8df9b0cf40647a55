//! RUN: a command over the stage's root file system.

use super::arguments::{given, proxy_environment};
use super::name::summary_of;
use super::state::StageState;
use super::{Lowered, Lowering, code, history};
use crate::compile::{Privilege, Privileges};
use crate::diagnostic::Diagnostic;
use crate::instruction::{Command, Run, RunNetwork, RunSecurity, Statement};
use crate::syntax::Span;
use kiln_plan::{Exec, Mount, MountKind, NetworkMode, Op, SecurityMode};

/// Where here-documents that are scripts lie while they run.
const SCRIPT_DIRECTORY: &str = "/dev/pipes/";

/// What is run, and what it needs besides the stage's own mounts.
struct CommandLine {
    arguments: Vec<String>,
    script: Option<Mount>,
    /// First line of a here-document that is all of the command.
    summary: Option<String>,
}

impl Lowering<'_> {
    /// Lowers a RUN.
    pub(super) fn run(
        &mut self,
        state: &mut StageState,
        statement: &Statement,
        run: &Run,
    ) -> Lowered<()> {
        self.check_privileges(statement, run)?;
        let devices = self.devices(&run.devices)?;
        let command = command_line(state, &run.command);
        let mut mounts = self.mounts(state, statement, &run.mounts)?;
        self.note_mounts(state, statement.span, &mounts);
        mounts.extend(command.script);
        let metadata = self.metadata(state, statement, command.summary.as_deref());
        let text = history::run(&state.visible_arguments(), &command.arguments);
        let exec = Exec {
            devices,
            ..self.exec(state, run, command.arguments, mounts)
        };
        state.result = Some(self.plan.add(Op::Exec(exec), metadata));
        state.record(history::built_layer(&text));
        Ok(())
    }

    /// Refuses what the caller has not allowed.
    fn check_privileges(&self, statement: &Statement, run: &Run) -> Lowered<()> {
        let Privileges::Listed(allowed) = &self.request.options.privileges else {
            return Ok(());
        };
        let is_host = run.network == Some(RunNetwork::Host);
        if is_host && !allowed.contains(&Privilege::HostNetwork) {
            let message = "RUN --network=host asks for the network of the host";
            return Err(not_allowed(statement, "--network", message, "network.host"));
        }
        let is_insecure = run.security == Some(RunSecurity::Insecure);
        if is_insecure && !allowed.contains(&Privilege::Insecure) {
            let message = "RUN --security=insecure asks for a sandbox that does not hold";
            let privilege = "security.insecure";
            return Err(not_allowed(statement, "--security", message, privilege));
        }
        Ok(())
    }

    fn exec(
        &self,
        state: &StageState,
        run: &Run,
        arguments: Vec<String>,
        mounts: Vec<Mount>,
    ) -> Exec {
        let options = self.request.options;
        let mut environment = state.environment().to_vec();
        add_agent_socket(&mut environment, &mounts);
        let is_set = |name: &str| environment.iter().any(|(known, _)| known == name);
        let proxies = proxy_environment(options).into_iter();
        let proxy_environment = proxies.filter(|(name, _)| !is_set(name)).collect();
        let hostname = given(options, "BUILDKIT_SANDBOX_HOSTNAME");
        Exec {
            root: state.result,
            arguments,
            environment,
            proxy_environment,
            working_directory: state.working_directory().to_owned(),
            user: state.config.config.user.clone(),
            mounts,
            network: match run.network {
                None | Some(RunNetwork::Default) => options.network,
                Some(RunNetwork::None) => NetworkMode::None,
                Some(RunNetwork::Host) => NetworkMode::Host,
            },
            security: match run.security {
                None | Some(RunSecurity::Sandbox) => SecurityMode::Sandbox,
                Some(RunSecurity::Insecure) => SecurityMode::Insecure,
            },
            hostname: hostname.unwrap_or(&options.hostname).to_owned(),
            extra_hosts: options.extra_hosts.clone(),
            ulimits: options.ulimits.clone(),
            shm_size_bytes: options.shm_size_bytes,
            devices: Vec::new(),
            platform: Some(state.platform.clone()),
        }
    }
}

/// Returns what runs for `command`.
///
/// A here-document that is the whole command is the shell's argument, so that shells without
/// here-documents can run it; with `#!` it is a script of its own.
fn command_line(state: &StageState, command: &Command) -> CommandLine {
    let text = match command {
        Command::Exec(arguments) => {
            return CommandLine {
                arguments: arguments.clone(),
                script: None,
                summary: None,
            };
        }
        Command::Shell { .. } => command.shell_text().unwrap_or_default(),
    };
    let Some(heredoc) = command.sole_heredoc() else {
        return CommandLine {
            arguments: state.with_shell(text),
            script: None,
            summary: None,
        };
    };
    let summary = Some(summary_of(&text));
    if !text.starts_with("#!") {
        return CommandLine {
            arguments: state.with_shell(text),
            script: None,
            summary,
        };
    }
    let target = format!("{SCRIPT_DIRECTORY}{}", heredoc.name);
    let kind = MountKind::File {
        data: text.into_bytes(),
        mode: 0o755,
    };
    CommandLine {
        arguments: state.with_shell(target.clone()),
        script: Some(Mount { target, kind }),
        summary,
    }
}

fn not_allowed(statement: &Statement, flag: &str, message: &str, privilege: &str) -> Diagnostic {
    let error = Diagnostic::error(code::NOT_ALLOWED, flag_span(statement, flag), message);
    error.with_help(format!("allow it with `--allow {privilege}`"))
}

/// Returns where `flag` stands with its value.
fn flag_span(statement: &Statement, flag: &str) -> Span {
    let Some(start) = statement.original.find(flag) else {
        return statement.span;
    };
    let rest = &statement.original[start..];
    let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let start = statement.span.start + start;
    Span::new(start, start + length)
}

/// Tells commands where the first SSH agent's socket is, unless they know already.
fn add_agent_socket(environment: &mut Vec<(String, String)>, mounts: &[Mount]) {
    const VARIABLE: &str = "SSH_AUTH_SOCK";
    let is_ssh = |mount: &&Mount| matches!(mount.kind, MountKind::Ssh { .. });
    let is_set = environment.iter().any(|(name, _)| name == VARIABLE);
    if let (Some(mount), false) = (mounts.iter().find(is_ssh), is_set) {
        environment.push((VARIABLE.to_owned(), mount.target.clone()));
    }
}
