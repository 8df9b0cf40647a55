//! A stage in the middle of being lowered.

use super::name::Naming;
use crate::expand::Variables;
use kiln_oci::{HistoryEntry, ImageConfig, Platform};
use kiln_plan::VertexId;

/// Shell of shell forms unless SHELL or the base image say otherwise.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What the instructions so far have come to.
#[derive(Clone)]
pub(super) struct StageState {
    /// The root file system; `None` while it is empty.
    pub(super) result: Option<VertexId>,
    pub(super) config: ImageConfig,
    pub(super) history: Vec<HistoryEntry>,
    /// Arguments in order of declaration; a later one of the same name wins.
    pub(super) arguments: Vec<(String, Option<String>)>,
    pub(super) platform: Platform,
    /// Whether this stage has a CMD, so that ENTRYPOINT keeps it.
    pub(super) has_command: bool,
    pub(super) naming: Naming,
    /// Place of the stage in the Dockerfile.
    pub(super) index: usize,
    pub(super) is_in_trigger: bool,
}

impl StageState {
    /// Returns the state of a stage on nothing, or on an image that is still to be added.
    pub(super) fn new(config: ImageConfig, platform: Platform, index: usize) -> Self {
        StageState {
            result: None,
            config,
            history: Vec::new(),
            arguments: Vec::new(),
            platform,
            has_command: false,
            naming: Naming::default(),
            index,
            is_in_trigger: false,
        }
    }

    pub(super) fn record(&mut self, entry: HistoryEntry) {
        self.history.push(entry);
    }

    /// Returns the environment in order: `ENV`, then arguments that no ENV covers.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> = Vec::new();
        for variable in &self.config.config.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            set(&mut environment, name, value);
        }
        let covered = environment.len();
        for (name, value) in &self.arguments {
            let is_covered = environment[..covered]
                .iter()
                .any(|(known, _)| known == name);
            if let Some(value) = value
                && !is_covered
            {
                set(&mut environment, name, value);
            }
        }
        environment
    }

    /// Returns the arguments that a command sees, each name once, in order of declaration.
    pub(super) fn visible_arguments(&self) -> Vec<(String, String)> {
        let mut visible = Vec::new();
        for (name, _) in &self.arguments {
            set(&mut visible, name, self.value(name).unwrap_or_default());
        }
        visible
    }

    /// Sets a variable of the image, in its place when it is set already.
    pub(super) fn set_environment(&mut self, name: &str, value: &str) {
        let variables = &mut self.config.config.env;
        let known = variables.iter_mut().find(|variable| {
            let known = variable.split_once('=').map_or(&***variable, |pair| pair.0);
            known == name
        });
        let variable = format!("{name}={value}");
        match known {
            Some(known) => *known = variable,
            None => variables.push(variable),
        }
    }

    /// Returns the arguments of a shell that runs `command`.
    pub(super) fn with_shell(&self, command: String) -> Vec<String> {
        let mut arguments: Vec<String> = match &self.config.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => DEFAULT_SHELL.map(str::to_owned).to_vec(),
        };
        arguments.push(command);
        arguments
    }

    /// Returns the absolute working directory.
    pub(super) fn working_directory(&self) -> &str {
        match self.config.config.working_dir.as_str() {
            "" => "/",
            directory => directory,
        }
    }
}

impl Variables for StageState {
    fn value(&self, name: &str) -> Option<&str> {
        let variables = self.config.config.env.iter().rev();
        let of_image = variables
            .filter_map(|variable| variable.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value);
        let arguments = self.arguments.iter().rev();
        of_image.or_else(|| {
            arguments
                .filter(|(known, _)| known == name)
                .find_map(|(_, value)| value.as_deref())
        })
    }
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: &str) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value.to_owned(),
        None => variables.push((name.to_owned(), value.to_owned())),
    }
}
