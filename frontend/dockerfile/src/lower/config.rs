//! Instructions that change what the image says of itself, and WORKDIR.

use super::state::StageState;
use super::{Lowered, Lowering, code, healthcheck, history, path, ports, words};
use crate::diagnostic::Diagnostic;
use crate::expand::Expansion;
use crate::instruction::{Command, Instruction, KeyValue, Statement, Workdir};
use crate::lint;
use crate::syntax::Word;
use kiln_plan::{FileAction, FileOp, Op, Owner};

impl Lowering<'_> {
    /// Returns `word` expanded with what is set in `state`.
    pub(super) fn expansion(&mut self, state: &StageState, word: &Word) -> Lowered<Expansion> {
        let expansion = words::expansion(word, self.escape(), state)?;
        if !state.is_in_trigger && state.knows_variables() {
            words::check_unset(word, &expansion, state, self.lint);
        }
        Ok(expansion)
    }

    pub(super) fn expanded(&mut self, state: &StageState, word: &Word) -> Lowered<String> {
        Ok(self.expansion(state, word)?.text)
    }

    /// Returns `word` expanded; an error when nothing is left.
    pub(super) fn expanded_not_empty(
        &mut self,
        state: &StageState,
        word: &Word,
        what: &str,
    ) -> Lowered<String> {
        let text = self.expanded(state, word)?;
        if text.is_empty() {
            let message = format!("{what} is empty once its variables are expanded");
            return Err(Diagnostic::error(code::INVALID_VALUE, word.span, message));
        }
        Ok(text)
    }

    /// Lowers an instruction that makes no layer.
    pub(super) fn change_config(
        &mut self,
        state: &mut StageState,
        statement: &Statement,
        instruction: &Instruction,
    ) -> Lowered<()> {
        let created_by = match instruction {
            Instruction::Env(env) => self.env(state, &env.pairs)?,
            Instruction::Label(label) => self.label(state, &label.pairs)?,
            Instruction::Maintainer(maintainer) => {
                let name = maintainer.name.text.clone();
                state.config.author = Some(name.clone());
                format!("MAINTAINER {name}")
            }
            Instruction::Cmd(cmd) => command(state, &cmd.command),
            Instruction::Entrypoint(entrypoint) => entry_point(state, &entrypoint.command),
            Instruction::Shell(shell) => {
                state.config.config.shell = Some(shell.arguments.clone());
                format!("SHELL {}", history::plain_list(&shell.arguments))
            }
            Instruction::Expose(expose) => self.expose(state, &expose.ports)?,
            Instruction::User(user) => {
                let user = self.expanded(state, &user.user)?;
                state.config.config.user = user.clone();
                format!("USER {user}")
            }
            Instruction::Volume(volume) => self.volume(state, &volume.paths)?,
            Instruction::Stopsignal(signal) => self.stop_signal(state, &signal.signal)?,
            Instruction::Healthcheck(check) => {
                let check = healthcheck::healthcheck(check);
                let text = format!("HEALTHCHECK {}", healthcheck::text(&check));
                state.config.config.healthcheck = Some(check);
                text
            }
            Instruction::Onbuild(onbuild) => {
                // Other builders keep triggers out of the history, too.
                state.config.config.on_build.push(onbuild.trigger.clone());
                return Ok(());
            }
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Workdir(_)
            | Instruction::Arg(_)
            | Instruction::From(_) => {
                let message = format!("{} cannot stand here", statement.keyword.text);
                return Err(Diagnostic::error(
                    code::UNSUPPORTED,
                    statement.span,
                    message,
                ));
            }
        };
        state.record(history::metadata(created_by));
        Ok(())
    }

    /// Returns all pairs expanded with what was set before any of them.
    fn pairs(
        &mut self,
        state: &StageState,
        pairs: &[KeyValue],
        what: &str,
    ) -> Lowered<Vec<(String, String)>> {
        let mut expanded = Vec::new();
        for pair in pairs {
            let key = self.expanded_not_empty(state, &pair.key, what)?;
            expanded.push((key, self.expanded(state, &pair.value)?));
        }
        Ok(expanded)
    }

    fn env(&mut self, state: &mut StageState, pairs: &[KeyValue]) -> Lowered<String> {
        let mut text = "ENV".to_owned();
        for (name, value) in self.pairs(state, pairs, "the variable's name")? {
            text = format!("{text} {name}={value}");
            state.set_environment(&name, &value);
        }
        Ok(text)
    }

    fn label(&mut self, state: &mut StageState, pairs: &[KeyValue]) -> Lowered<String> {
        let mut text = "LABEL".to_owned();
        for (key, value) in self.pairs(state, pairs, "the label's key")? {
            text = format!("{text} {key}={value}");
            state.config.config.labels.insert(key, value);
        }
        Ok(text)
    }

    fn expose(&mut self, state: &mut StageState, words: &[Word]) -> Lowered<String> {
        let mut specifications = Vec::new();
        for word in words {
            let expanded = self.expansion(state, word)?.words;
            specifications.extend(expanded.into_iter().map(|text| (text, word.span)));
        }
        specifications.sort();
        let mut exposed: Vec<String> = Vec::new();
        for (text, span) in specifications {
            if !state.is_in_trigger {
                lint::expose_proto_casing::check(&text, span, self.lint);
                lint::expose_invalid_format::check(&text, span, self.lint);
            }
            let ports = ports::parse(&text)
                .map_err(|message| Diagnostic::error(code::INVALID_VALUE, span, message))?;
            exposed.extend(ports);
        }
        let mut listed = exposed.clone();
        listed.dedup();
        state.config.config.exposed_ports.extend(exposed);
        Ok(format!("EXPOSE {}", history::plain_list(&listed)))
    }

    fn volume(&mut self, state: &mut StageState, words: &[Word]) -> Lowered<String> {
        let mut paths = Vec::new();
        for word in words {
            paths.push(self.expanded_not_empty(state, word, "the volume's path")?);
        }
        let volumes = &mut state.config.config.volumes;
        volumes.extend(paths.iter().cloned());
        Ok(format!("VOLUME {}", history::plain_list(&paths)))
    }

    fn stop_signal(&mut self, state: &mut StageState, word: &Word) -> Lowered<String> {
        let signal = self.expanded(state, word)?;
        if !is_signal(&signal) {
            let message = format!("`{signal}` is no signal");
            let error = Diagnostic::error(code::INVALID_VALUE, word.span, message);
            return Err(error.with_help("a signal is a name such as SIGTERM or a number"));
        }
        state.config.config.stop_signal = Some(signal.clone());
        Ok(format!("STOPSIGNAL {signal}"))
    }

    /// Lowers a WORKDIR: the directory is made in a layer of its own, unless it is the root.
    pub(super) fn workdir(
        &mut self,
        state: &mut StageState,
        statement: &Statement,
        workdir: &Workdir,
    ) -> Lowered<()> {
        let written = self.expanded(state, &workdir.path)?;
        if !state.is_in_trigger {
            let path = &workdir.path;
            lint::workdir_relative_path::check(path, &written, &mut state.lint, self.lint);
        }
        let directory = path::join(state.working_directory(), &written);
        state.config.config.working_dir = directory.clone();
        let metadata = self.metadata(state, statement, None);
        let text = format!("WORKDIR {directory}");
        if directory == "/" {
            state.record(history::metadata(text));
            return Ok(());
        }
        let make = FileAction::MakeDirectory {
            path: directory,
            mode: 0o755,
            owner: owner(&state.config.config.user),
        };
        let file = FileOp {
            base: state.result,
            actions: vec![make],
        };
        state.result = Some(self.plan.add(Op::File(file), metadata));
        state.record(history::layer(text));
        Ok(())
    }
}

/// Returns the owner that `text`, `user[:group]`, names; `None` when it is empty.
pub(super) fn owner(text: &str) -> Option<Owner> {
    if text.is_empty() {
        return None;
    }
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = match user {
        "" => "0",
        user => user,
    };
    Some(Owner {
        user: user.to_owned(),
        group: group.filter(|group| !group.is_empty()).map(str::to_owned),
    })
}

/// Returns the arguments of a command, in the shell where it is in shell form.
fn arguments(state: &StageState, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(arguments) => arguments.clone(),
        Command::Shell { .. } => state.with_shell(command.shell_text().unwrap_or_default()),
    }
}

fn command(state: &mut StageState, command: &Command) -> String {
    let arguments = arguments(state, command);
    let text = format!("CMD {}", history::quoted_list(&arguments));
    let config = &mut state.config.config;
    config.cmd = Some(arguments).filter(|arguments| !arguments.is_empty());
    config.args_escaped = true;
    state.has_command = true;
    text
}

/// A new entry point makes the base image's arguments meaningless, but not this stage's.
fn entry_point(state: &mut StageState, command: &Command) -> String {
    let arguments = arguments(state, command);
    let text = format!("ENTRYPOINT {}", history::quoted_list(&arguments));
    let has_command = state.has_command;
    let config = &mut state.config.config;
    config.entrypoint = Some(arguments).filter(|arguments| !arguments.is_empty());
    if !has_command {
        config.cmd = None;
    }
    text
}

const SIGNALS: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS",
    "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
];

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return offset.parse::<u32>().is_ok_and(|offset| offset <= 30);
    }
    if let Some(offset) = name.strip_prefix("RTMAX-") {
        return offset.parse::<u32>().is_ok_and(|offset| offset <= 30);
    }
    SIGNALS.contains(&name) || name == "XFSZ"
}
