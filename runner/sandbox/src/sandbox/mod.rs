//! Running one command: starting the sandbox's first process and listening to it.

mod groups;
mod program;
mod reaper;
mod starter;
mod watch;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use kiln_runspec::{Host, RunSpec, SystemCalls, filter};

use crate::placement::Placements;
use crate::{Cancellation, SandboxError, protocol};
use groups::RunGroups;
use reaper::Reaper;
use starter::Starter;

/// Runs commands on one host. Shared by threads: each may run a command.
#[derive(Debug)]
pub struct Sandbox {
    host: Host,
    filter: OnceLock<Vec<u8>>,
    // Before the starter: it is done with processes when the starter removes their group.
    reaper: Reaper,
    starter: Arc<Starter>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How the command ended.
    pub status: Status,
    /// Whether the kernel killed a process for lack of memory.
    pub out_of_memory: bool,
    /// Most memory used at once, where it was limited and so counted.
    pub peak_memory_bytes: Option<u64>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// With an exit code.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Sandbox {
    /// Returns a sandbox for `host` whose hidden mode is this very program.
    ///
    /// Errors: no thread can be started.
    pub fn new(host: Host) -> Result<Self, SandboxError> {
        Self::with_program(host, Path::new("/proc/self/exe"))
    }

    /// Returns a sandbox for `host` whose hidden mode is another program, for those
    /// whose `main` cannot answer to it.
    pub fn with_program(host: Host, program: &Path) -> Result<Self, SandboxError> {
        let start = |source| SandboxError::Start { source };
        let device_group = kiln_runspec::device_group(&host);
        let starter = Arc::new(Starter::new(program, device_group));
        Ok(Self {
            filter: OnceLock::new(),
            reaper: Reaper::start(Arc::clone(&starter)).map_err(start)?,
            starter,
            host,
        })
    }

    /// Compiled once; most builds run nothing. What dead processes left is removed then too.
    fn filter(&self) -> &[u8] {
        self.filter.get_or_init(|| {
            groups::remove_leftovers(&self.host);
            let subject = filter::Subject::of(&self.host);
            filter::compile(&filter::default_profile(), &subject)
        })
    }

    /// Returns the host it was made for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs `spec` to its end and hands over its output piece by piece.
    ///
    /// When this returns, no process of the run exists but its first one, which is on its
    /// way out: nothing changes the run's root any more. Errors: [`SandboxError`];
    /// how the command itself ended is the [`Outcome`].
    pub fn run(
        &self,
        spec: &RunSpec,
        output: impl FnMut(Stream, &[u8]),
        cancellation: &Cancellation,
    ) -> Result<Outcome, SandboxError> {
        let steps = kiln_runspec::steps(spec, &self.host)?;
        let placements = Placements::put(spec)?;
        let groups = RunGroups::prepare(kiln_runspec::group_plan(spec, &self.host)?)?;
        let mut started = match self.starter.take() {
            Ok(started) => started,
            Err(error) => {
                groups.remove();
                return Err(error);
            }
        };
        self.reaper.start_spare();
        // When nobody listens any more, a report tells why, or the end of the socket.
        let filter = match &spec.confinement.system_calls {
            SystemCalls::Filter(program) => program,
            SystemCalls::Default | SystemCalls::Unconfined => self.filter(),
        };
        let _ = protocol::send_setup(&started.control, &steps, filter);
        let ended = watch::watch(&mut started, output, cancellation);
        let outcome = ended.map(|status| groups.outcome(status));
        // It ends by itself now; unmounting takes it a while.
        self.reaper.finish(started, groups);
        placements.take_back()?;
        outcome
    }
}
