//! What the caller and a sandbox's processes tell each other over a socket.
//!
//! Down goes one set-up: lengths, steps, filter. Up come reports, one line each.

use std::io::{self, Read, Write};

use kiln_runspec::SetupStep;
use serde::{Deserialize, Serialize};

use crate::error::StepFailure;

/// What the processes of a run took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in their own code, in microseconds.
    pub user_microseconds: u64,
    /// Processor time in the kernel, in microseconds.
    pub system_microseconds: u64,
    /// Memory of the one that had most at once, in bytes.
    pub largest_process_bytes: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written for disks.
    pub written_bytes: u64,
}

/// What a sandbox tells its caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The command's program runs.
    Started,
    /// What all processes of the run took together; told before how the command ended.
    Used(Usage),
    /// A step failed.
    SetupFailed(StepFailure),
    /// The program could not be executed.
    ExecFailed {
        /// Program as asked for.
        program: String,
        /// Error number.
        errno: i32,
    },
    /// The command exited and all other processes are gone.
    Exited(i32),
    /// The command was killed by a signal and all other processes are gone.
    Signalled(i32),
    /// Process 1 was killed by a signal, and all others with it.
    InitKilled(i32),
}

/// Sends the set-up.
pub(crate) fn send_setup(mut to: impl Write, steps: &[SetupStep], filter: &[u8]) -> io::Result<()> {
    let steps = serde_json::to_vec(steps)?;
    let mut message = Vec::with_capacity(16 + steps.len() + filter.len());
    message.extend((steps.len() as u64).to_ne_bytes());
    message.extend((filter.len() as u64).to_ne_bytes());
    message.extend(&steps);
    message.extend(filter);
    to.write_all(&message)
}

/// Receives the set-up: steps and filter.
pub(crate) fn receive_setup(mut from: impl Read) -> io::Result<(Vec<SetupStep>, Vec<u8>)> {
    let mut lengths = [[0; 8]; 2];
    from.read_exact(&mut lengths[0])?;
    from.read_exact(&mut lengths[1])?;
    let [steps_length, filter_length] = lengths.map(|bytes| u64::from_ne_bytes(bytes) as usize);
    let mut steps = vec![0; steps_length];
    from.read_exact(&mut steps)?;
    let mut filter = vec![0; filter_length];
    from.read_exact(&mut filter)?;
    Ok((serde_json::from_slice(&steps)?, filter))
}

/// Sends one report.
pub(crate) fn send_report(mut to: impl Write, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    to.write_all(&line)
}
