//! Running one command: starting the sandbox's first process and listening to it.

mod groups;
mod limited;
mod program;
mod reaper;
mod starter;
mod terminal;
mod watch;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kiln_runspec::{
    Host, Limits, NetworkSpec, RunSpec, Rung, SecurityMode, SetupStep, SystemCalls, filter,
};

use crate::network::{Network, Networks, PrivateNetwork};
use crate::placement::Placements;
use crate::protocol::Usage;
use crate::{Cancellation, SandboxError, protocol, syscall};
use groups::RunGroups;
use limited::Limited;
use reaper::Reaper;
pub(crate) use starter::{Started, Starter};
use watch::Ended;

pub use terminal::CallerTerminal;

/// Runs commands on one host. Shared by threads: each may run a command.
#[derive(Debug)]
pub struct Sandbox {
    host: Host,
    filter: OnceLock<Vec<u8>>,
    /// Of runs that are not to be filtered: it carries out in another way what there is.
    open_filter: OnceLock<Vec<u8>>,
    /// Before the reaper: programs of theirs are processes of the starter.
    networks: Networks,
    // Before the starter: it is done with processes when the starter removes their group.
    reaper: Reaper,
    starter: Arc<Starter>,
    /// Last: all other groups are gone by then.
    _limited: Option<Limited>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How the command ended.
    pub status: Status,
    /// Whether the kernel killed a process for lack of memory.
    pub out_of_memory: bool,
    /// Whether the kernel refused to make a process because of a limit.
    pub out_of_processes: bool,
    /// Most memory used at once, where it was limited and so counted.
    pub peak_memory_bytes: Option<u64>,
    /// What was taken besides; nothing when the first process was killed.
    pub usage: Option<Usage>,
    /// Time from the request for a process to the command being executed, the whole set-up between;
    /// nothing when the first process was killed before.
    pub until_executed: Option<Duration>,
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
        Self::with_program(host, &Limits::default(), Path::new("/proc/self/exe"))
    }

    /// Returns a sandbox as [`Sandbox::new`] does, and puts `limits` on this process and all runs
    /// together until it is dropped.
    ///
    /// Errors: as there; [`SandboxError::ControlGroup`], [`SandboxError::Spec`] when nothing can
    /// enforce them.
    pub fn limited(host: Host, limits: &Limits) -> Result<Self, SandboxError> {
        Self::with_program(host, limits, Path::new("/proc/self/exe"))
    }

    fn with_program(host: Host, limits: &Limits, program: &Path) -> Result<Self, SandboxError> {
        let (host, limited) = Limited::enter(host, limits)?;
        let start = |source| SandboxError::Start { source };
        let device_group = kiln_runspec::device_group(&host);
        let starter = Arc::new(Starter::new(program, device_group));
        Ok(Self {
            filter: OnceLock::new(),
            open_filter: OnceLock::new(),
            networks: Networks::new(host.rung, Arc::clone(&starter)),
            reaper: Reaper::start(Arc::clone(&starter)).map_err(start)?,
            starter,
            host,
            _limited: limited,
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

    /// Returns the filter of a run, in the kernel's form.
    fn filter_of<'a>(&'a self, spec: &'a RunSpec) -> &'a [u8] {
        let own = self.filter();
        match &spec.confinement.system_calls {
            _ if spec.security == SecurityMode::Insecure => self.open_filter(),
            SystemCalls::Unconfined => self.open_filter(),
            SystemCalls::Filter(program) => program,
            SystemCalls::Default => own,
        }
    }

    fn open_filter(&self) -> &[u8] {
        self.open_filter.get_or_init(|| {
            let subject = filter::Subject::of(&self.host);
            filter::compile(&filter::open_profile(), &subject)
        })
    }

    /// Returns the host it was made for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Says that something will be run soon: what that takes before it is known is done
    /// meanwhile.
    pub fn expect_run(&self) {
        self.reaper.start_server();
    }

    /// Whether networks are kept for the next run; to remove them takes time.
    pub fn keeps_networks(&self) -> bool {
        self.networks.has_free()
    }

    /// Says that nothing will be run soon: the networks that were kept are removed. It can be done
    /// beside other work; else it is done when this is dropped.
    pub fn release_networks(&self) {
        self.networks.remove_free();
    }

    /// Returns what a run in a private network has to be told, for its specification.
    ///
    /// Errors: [`SandboxError::NoPrivateNetwork`] when there are none on this host.
    pub fn private_network(&self) -> Result<PrivateNetwork, SandboxError> {
        self.networks.facts()
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
        let start = || self.starter.start();
        let listen = |started: &mut Started| watch::watch(started, output, cancellation);
        self.run_steps(spec, &steps, start, listen)
    }

    /// Runs `spec` on a terminal of its own, which is connected to `caller`'s until the command
    /// ends. What the caller types goes there, interrupts too.
    ///
    /// Errors: as for [`Sandbox::run`]; [`SandboxError::Terminal`] when there is none to be had.
    pub fn run_on_terminal(
        &self,
        spec: &RunSpec,
        caller: &CallerTerminal<'_>,
        cancellation: &Cancellation,
    ) -> Result<Outcome, SandboxError> {
        let steps = terminal::with_terminal(kiln_runspec::steps(spec, &self.host)?);
        let failed = |source| SandboxError::Terminal { source };
        let (terminal, slave) = terminal::open(caller).map_err(failed)?;
        let start = || self.starter.start_on(slave);
        let listen = |started: &mut Started| {
            let raw = terminal::Raw::enter(caller).map_err(failed)?;
            let status = watch::watch_terminal(started, &terminal, caller, cancellation);
            drop(raw);
            status
        };
        self.run_steps(spec, &steps, start, listen)
    }

    fn run_steps(
        &self,
        spec: &RunSpec,
        steps: &[SetupStep],
        start: impl FnOnce() -> Result<Started, SandboxError>,
        listen: impl FnOnce(&mut Started) -> Result<Ended, SandboxError>,
    ) -> Result<Outcome, SandboxError> {
        let network = match spec.network {
            NetworkSpec::Private => Some(self.networks.take()?),
            NetworkSpec::Host | NetworkSpec::None => None,
        };
        let placements = match self.host.rung {
            Rung::Chroot => Placements::put(spec)?,
            _ => Placements::default(),
        };
        let groups = RunGroups::prepare(kiln_runspec::group_plan(spec, &self.host)?)?;
        let mut started = match start() {
            Ok(started) => started,
            Err(error) => {
                groups.remove();
                return Err(error);
            }
        };
        // When nobody listens any more, a report tells why, or the end of the socket.
        let _ = send(&started, steps, self.filter_of(spec), network.as_ref());
        let outcome = listen(&mut started).map(|ended| groups.outcome(ended));
        // It ends by itself now; unmounting takes it a while.
        self.reaper.finish(started, groups);
        if let (Some(network), Ok(_), SecurityMode::Sandbox) = (network, &outcome, spec.security) {
            // Nobody is in it any more, and nobody could have changed it.
            self.networks.give_back(network);
        }
        placements.take_back()?;
        outcome
    }
}

fn send(
    to: &Started,
    steps: &[SetupStep],
    filter: &[u8],
    network: Option<&Network>,
) -> io::Result<()> {
    protocol::send_setup(&to.control, steps, filter)?;
    match network {
        Some(network) => syscall::send_descriptor(&to.control, network.handle()),
        None => Ok(()),
    }
}
