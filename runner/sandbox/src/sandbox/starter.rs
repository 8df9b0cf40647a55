//! Starting the first process of each run.
//!
//! This program is started once, in its hidden mode, as a server: it forks a process for each
//! run. See [`crate::init`] for why.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use super::groups;
use super::program::Program;
use crate::init::{GROUP_VARIABLE, HIDDEN_ARGUMENT};
use crate::{SandboxError, syscall};

/// A first process that waits for its steps.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) control: UnixStream,
    /// Where its output and its errors come from, if that is nowhere else.
    pub(crate) pipes: Option<[OwnedFd; 2]>,
    /// When it was asked for.
    pub(super) requested: Instant,
}

/// A process that another one started and waits for.
#[derive(Debug)]
pub(crate) struct Process {
    handle: OwnedFd,
}

/// Has first processes started.
#[derive(Debug)]
pub(crate) struct Starter {
    path: PathBuf,
    /// The group in which only harmless devices open.
    device_group: Option<PathBuf>,
    /// Started when it is needed first: most builds run nothing.
    server: Mutex<Option<Server>>,
}

/// The process that forks them.
#[derive(Debug)]
struct Server {
    child: Child,
    requests: UnixStream,
}

impl Starter {
    pub(crate) fn new(program: &Path, device_group: Option<PathBuf>) -> Self {
        Self {
            path: program.to_owned(),
            device_group,
            server: Mutex::default(),
        }
    }

    /// Starts the server, unless there is one. When that fails, so will the next run, and tell
    /// why.
    pub(super) fn start_server(&self) {
        let _ = self.with_server(|_| Ok(()));
    }

    /// Returns a first process whose output is listened to.
    pub(super) fn start(&self) -> Result<Started, SandboxError> {
        let start = |source: Errno| SandboxError::Start {
            source: source.into(),
        };
        let (stdout, its_stdout) = pipe_with(PipeFlags::CLOEXEC).map_err(start)?;
        let (stderr, its_stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(start)?;
        let started = self.start_with(its_stdout, its_stderr)?;
        Ok(Started {
            pipes: Some([stdout, stderr]),
            ..started
        })
    }

    /// Returns a first process whose output goes to the terminal `slave`.
    pub(super) fn start_on(&self, slave: OwnedFd) -> Result<Started, SandboxError> {
        let other = slave.try_clone();
        self.start_with(
            slave,
            other.map_err(|source| SandboxError::Start { source })?,
        )
    }

    /// Returns a first process whose complaints go to `complaints`, and what else it says nowhere.
    pub(crate) fn start_silent(&self, complaints: OwnedFd) -> Result<Started, SandboxError> {
        let nowhere = File::options().write(true).open("/dev/null");
        let nowhere = nowhere.map_err(|source| SandboxError::Start { source })?;
        self.start_with(nowhere.into(), complaints)
    }

    fn start_with(&self, stdout: OwnedFd, stderr: OwnedFd) -> Result<Started, SandboxError> {
        let requested = Instant::now();
        self.with_server(|server| {
            let (ours, theirs) = UnixStream::pair()?;
            let sent = [theirs.as_fd(), stdout.as_fd(), stderr.as_fd()];
            syscall::send_descriptors(&server.requests, sent)?;
            let handle = syscall::receive_descriptor(&server.requests)?;
            // It could not fork.
            let handle = handle.ok_or(Errno::AGAIN)?;
            Ok(Started {
                process: Process { handle },
                control: ours,
                pipes: None,
                requested,
            })
        })
    }

    /// Does `work` with the server, starting it first; one that has ended is started again.
    fn with_server<T>(
        &self,
        work: impl FnOnce(&Server) -> io::Result<T>,
    ) -> Result<T, SandboxError> {
        let mut place = self.server();
        let server = match place.take().and_then(Server::if_running) {
            Some(server) => server,
            None => self.launch()?,
        };
        let done = work(place.insert(server));
        done.map_err(|source| SandboxError::Start { source })
    }

    fn launch(&self) -> Result<Server, SandboxError> {
        let start = |source: io::Error| SandboxError::Start { source };
        if let Some(directory) = &self.device_group {
            groups::prepare_devices(directory)?;
        }
        let (ours, theirs) = UnixStream::pair().map_err(start)?;
        // Open until the command has been started.
        let program = Program::open(&self.path).map_err(start)?;
        let mut command = program.command();
        command
            .arg(HIDDEN_ARGUMENT)
            .env_clear()
            // Arguments of process 1 can be read from inside, its environment cannot.
            .envs(
                self.device_group
                    .iter()
                    .map(|group| (GROUP_VARIABLE, group)),
            )
            // Out of reach of a terminal's interrupt, which is for the caller to handle.
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Server {
            child: command.spawn().map_err(start)?,
            requests: ours,
        })
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        let server = self.server().take();
        if let Some(server) = server {
            server.end();
            self.device_group
                .iter()
                .for_each(|group| groups::remove_group(group));
        }
    }
}

impl Server {
    fn if_running(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }

    /// With its socket gone it ends by itself.
    fn end(self) {
        let Server {
            mut child,
            requests,
        } = self;
        drop(requests);
        let _ = child.wait();
    }
}

impl Process {
    pub(super) fn kill(&self) {
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    pub(crate) fn has_ended(&self) -> bool {
        let mut waits = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut waits, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Waits for its end.
    pub(super) fn wait(&self) {
        let mut waits = [PollFd::new(&self.handle, PollFlags::IN)];
        while poll(&mut waits, None) == Err(Errno::INTR) {}
    }
}

impl Started {
    /// With its socket gone it ends by itself.
    pub(crate) fn end(self) {
        let Started {
            process, control, ..
        } = self;
        drop(control);
        process.wait();
    }
}
