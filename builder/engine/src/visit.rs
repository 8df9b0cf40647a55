//! Entering a step: what is run there instead of its own command.

use kiln_sandbox::CallerTerminal;

/// What is run where a step ran.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The name of the step, for messages.
    pub name: &'a str,
    /// Which files there are.
    pub moment: Moment,
    /// What is run.
    pub command: VisitCommand<'a>,
    /// Who talks to it; nobody does when absent.
    pub terminal: Option<CallerTerminal<'a>>,
}

/// What is run where a step ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitCommand<'a> {
    /// The shell of the step.
    Shell,
    /// A script for that shell.
    Script(&'a str),
    /// Program and arguments.
    Program(&'a [String]),
}

/// Which files of a step there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Those that it started from.
    Before,
    /// Those that it left, also when it failed; where nobody knows them, those that it started
    /// from.
    After,
}
