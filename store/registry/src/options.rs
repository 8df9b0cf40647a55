//! What a client is told when it is made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Login, Places, RegistrySettings};

/// Hears one line about every wait for a retry.
pub type Observer = Arc<dyn Fn(&str) + Send + Sync>;

/// How a [`Client`](crate::Client) is set up.
#[derive(Clone, Default)]
pub struct ClientOptions {
    /// Mirrors, certificates, registries without TLS.
    pub registries: RegistrySettings,
    /// Where other tools keep their settings, if these count. Read when a registry is needed.
    pub places: Option<Places>,
    /// The folder of the one `config.json` that is asked for credentials; without it they are
    /// looked for where Docker and the containers tools keep them.
    pub docker_config: Option<PathBuf>,
    /// What is tried for one registry instead of what the files say.
    pub login: Option<Login>,
    /// How often failed requests are repeated.
    pub retries: RetryPolicy,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// Told about retries.
    pub observer: Option<Observer>,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientOptions")
            .field("registries", &self.registries)
            .field("places", &self.places)
            .field("docker_config", &self.docker_config)
            .field("login", &self.login)
            .field("retries", &self.retries)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// How often, and after which pauses, a request that may yet succeed is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most times a request is sent.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles from there, and a jitter is added.
    pub first_pause: Duration,
    /// The longest pause, unless the server asks for a longer one in `Retry-After`.
    pub longest_pause: Duration,
    /// The most time that is waited in all. A server that asks for more is given up at once.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(400),
            longest_pause: Duration::from_secs(15),
            longest_wait: Duration::from_secs(60),
        }
    }
}

/// How long anything may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until the next byte of an answer or of a body.
    pub idle: Duration,
    /// Until a whole document (manifest, token) is there.
    pub document: Duration,
    /// A blob that brings less than this many bytes in an `idle` period has stalled.
    pub slowest_bytes_per_idle: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            document: Duration::from_secs(60),
            slowest_bytes_per_idle: 16 << 10,
        }
    }
}
