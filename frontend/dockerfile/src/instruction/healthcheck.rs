//! `HEALTHCHECK NONE` and `HEALTHCHECK [flags] CMD COMMAND`.

use std::time::Duration;

use super::Command;

/// How a container's health is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// Not at all, whatever the base image says.
    None,
    /// By running a command.
    Probe(Probe),
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
