//! A stage in the middle of being lowered.

use super::entries::Entries;
use super::environment::Environment;
use super::name::Naming;
use super::words::Scope;
use crate::expand::Variables;
use crate::lint::StageFacts;
use kiln_oci::{HistoryEntry, ImageConfig, Platform};
use kiln_plan::VertexId;
use std::collections::HashMap;

/// Shell of shell forms unless SHELL or the base image say otherwise.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Arguments that tell the builder something and no command.
const HIDDEN_ARGUMENTS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What the instructions so far have come to.
#[derive(Clone)]
pub(super) struct StageState {
    /// The root file system; `None` while it is empty.
    pub(super) result: Option<VertexId>,
    pub(super) config: ImageConfig,
    pub(super) history: Entries,
    environment: Environment,
    /// Where in the configuration a variable stands.
    places: HashMap<String, usize>,
    /// Arguments in order of declaration.
    arguments: Vec<(String, Option<String>)>,
    pub(super) platform: Platform,
    /// Whether this stage has a CMD, so that ENTRYPOINT keeps it.
    pub(super) has_command: bool,
    pub(super) naming: Naming,
    /// Place of the stage in the Dockerfile.
    pub(super) index: usize,
    pub(super) is_in_trigger: bool,
    variables: Knowledge,
    /// What rules remember.
    pub(super) lint: StageFacts,
}

/// Whether all that sets variables has been understood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    Whole,
    /// There was an error: a variable that is not set may be set when it is mended.
    Partial,
}

impl StageState {
    /// Returns the state of a stage on nothing, or on an image that is still to be added.
    pub(super) fn new(config: ImageConfig, platform: Platform, index: usize) -> Self {
        let mut state = StageState {
            result: None,
            config,
            history: Entries::default(),
            environment: Environment::default(),
            places: HashMap::new(),
            arguments: Vec::new(),
            platform,
            has_command: false,
            naming: Naming::default(),
            index,
            is_in_trigger: false,
            variables: Knowledge::Whole,
            lint: StageFacts::default(),
        };
        state.see_variables();
        state
    }

    /// Returns whether a variable that is not set is meant to be so.
    pub(super) fn knows_variables(&self) -> bool {
        self.variables == Knowledge::Whole
    }

    /// Takes note of an error in what sets variables.
    pub(super) fn forget_variables(&mut self) {
        self.variables = Knowledge::Partial;
    }

    /// Returns the state of the stage at `index`, which starts from this one.
    pub(super) fn next_stage(&self, index: usize) -> Self {
        let mut state = StageState {
            index,
            has_command: false,
            lint: self.lint.next_stage(),
            history: self.history.next_stage(),
            ..self.clone()
        };
        state.see_variables();
        state
    }

    /// Makes variables of the image seen again, over arguments.
    fn see_variables(&mut self) {
        self.places.clear();
        for (place, variable) in self.config.config.env.iter().enumerate() {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            self.environment.set(name, value);
            // Of equal names the first is the one that is replaced.
            self.places.entry(name.to_owned()).or_insert(place);
        }
    }

    pub(super) fn record(&mut self, entry: HistoryEntry) {
        self.history.push(entry);
    }

    /// Returns what words and commands see: variables of the image and arguments in the order
    /// they were first set, each with the value that was set last.
    pub(super) fn environment(&self) -> &[(String, String)] {
        self.environment.variables()
    }

    /// Declares an argument. With a value it is seen from here on, over an older variable.
    pub(super) fn declare_argument(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value
            && !HIDDEN_ARGUMENTS.contains(&name)
        {
            self.environment.set(name, value);
        }
        let value = value.map(str::to_owned);
        self.arguments.push((name.to_owned(), value));
    }

    /// Returns the arguments that a command sees, each name once, in order of declaration.
    pub(super) fn visible_arguments(&self) -> Vec<(String, String)> {
        let mut visible = Environment::default();
        for (name, value) in &self.arguments {
            let value = self.value(name).or(value.as_deref());
            visible.set(name, value.unwrap_or_default());
        }
        visible.into_variables()
    }

    /// Sets a variable of the image, in its place when it is set already.
    pub(super) fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.set(name, value);
        let variables = &mut self.config.config.env;
        let variable = format!("{name}={value}");
        match self.places.get(name) {
            Some(place) => variables[*place] = variable,
            None => {
                self.places.insert(name.to_owned(), variables.len());
                variables.push(variable);
            }
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
        self.environment.value(name)
    }
}

impl Scope for StageState {
    fn declares(&self, name: &str) -> bool {
        self.arguments.iter().any(|(known, _)| known == name)
    }

    fn names(&self) -> Vec<&str> {
        let names = self.environment().iter().map(|(name, _)| name.as_str());
        names.collect()
    }
}
