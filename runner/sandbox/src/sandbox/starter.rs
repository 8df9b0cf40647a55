//! Starting the sandbox's first process, and keeping one started for the next run.
//!
//! Loading the program and entering a control group take longer than all the rest of a
//! set-up, and do not depend on what is run. So while one command runs, the first process
//! of the next one is started already; it waits for its steps.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::groups;
use super::program::Program;
use crate::SandboxError;
use crate::init::{GROUP_VARIABLE, HIDDEN_ARGUMENT};

/// A first process that waits for its steps.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) control: UnixStream,
}

/// Starts first processes.
#[derive(Debug)]
pub(super) struct Starter {
    path: PathBuf,
    /// Opened when it is needed first: most builds run nothing.
    program: OnceLock<Program>,
    /// The group in which only harmless devices open.
    device_group: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_group_made: bool,
    spare: Option<Started>,
}

impl Starter {
    pub(super) fn new(program: &Path, device_group: Option<PathBuf>) -> Self {
        Self {
            path: program.to_owned(),
            program: OnceLock::new(),
            device_group,
            state: Mutex::default(),
        }
    }

    fn program(&self) -> io::Result<&Program> {
        if let Some(program) = self.program.get() {
            return Ok(program);
        }
        let program = Program::open(&self.path)?;
        Ok(self.program.get_or_init(|| program))
    }

    /// Returns a first process.
    pub(super) fn take(&self) -> Result<Started, SandboxError> {
        let spare = self.state().spare.take();
        if let Some(mut spare) = spare
            && matches!(spare.child.try_wait(), Ok(None))
        {
            return Ok(spare);
        }
        self.start()
    }

    /// Starts one for later, unless there is one. When that fails, so will the next run,
    /// and tell why.
    pub(super) fn start_spare(&self) {
        if self.state().spare.is_some() {
            return;
        }
        if let Ok(started) = self.start() {
            let surplus = self.state().spare.replace(started);
            surplus.into_iter().for_each(Started::end);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<Started, SandboxError> {
        self.start_with(Stdio::piped(), Stdio::piped())
    }

    /// Returns a first process whose output goes to the terminal `slave`.
    pub(super) fn start_on(&self, slave: OwnedFd) -> Result<Started, SandboxError> {
        let start = |source| SandboxError::Start { source };
        let other = slave.try_clone().map_err(start)?;
        self.start_with(slave.into(), other.into())
    }

    fn start_with(&self, stdout: Stdio, stderr: Stdio) -> Result<Started, SandboxError> {
        let start = |source: io::Error| SandboxError::Start { source };
        self.make_device_group()?;
        let (ours, theirs) = UnixStream::pair().map_err(start)?;
        let mut command = self.program().map_err(start)?.command();
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
            .stdout(stdout)
            .stderr(stderr);
        Ok(Started {
            child: command.spawn().map_err(start)?,
            control: ours,
        })
    }

    fn make_device_group(&self) -> Result<(), SandboxError> {
        let Some(directory) = &self.device_group else {
            return Ok(());
        };
        let mut state = self.state();
        if !state.is_group_made {
            groups::prepare_devices(directory)?;
            state.is_group_made = true;
        }
        Ok(())
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        let mut state = self.state();
        state.spare.take().into_iter().for_each(Started::end);
        if let (true, Some(directory)) = (state.is_group_made, &self.device_group) {
            groups::remove_group(directory);
        }
    }
}

impl Started {
    /// With its socket gone it ends by itself.
    pub(super) fn end(self) {
        let Started { mut child, control } = self;
        drop(control);
        let _ = child.wait();
    }
}
