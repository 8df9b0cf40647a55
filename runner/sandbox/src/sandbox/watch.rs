//! Listening to a run: reports, output, and the wish to stop.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::starter::Started;
use super::{Status, Stream};
use crate::protocol::Report;
use crate::{Cancellation, SandboxError};

/// How long a cancelled run may take to go before its watcher is killed too.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Listens until the run is over and returns how its command ended.
pub(super) fn watch(
    started: &mut Started,
    output: impl FnMut(Stream, &[u8]),
    cancellation: &Cancellation,
) -> Result<Status, SandboxError> {
    let contact = |source| SandboxError::Contact { source };
    let Started { child, control } = started;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(SandboxError::InitEnded);
    };
    let pipes = [stdout.into(), stderr.into()];
    let mut run = Watch::new(control, pipes, output).map_err(contact)?;
    let mut cancelled: Option<Instant> = None;
    let ended = loop {
        let wait_for = cancelled.is_none().then_some(cancellation);
        run.wait(wait_for, cancelled).map_err(contact)?;
        run.read_output().map_err(contact)?;
        match run.read_reports().map_err(contact)? {
            Heard::Nothing => {}
            Heard::Closed => break Err(SandboxError::InitEnded),
            Heard::Report(report) => break in_words(report),
        }
        match cancelled {
            None if cancellation.is_cancelled() => {
                // The watcher takes this as the order to kill.
                let _ = control.shutdown(Shutdown::Write);
                cancelled = Some(Instant::now());
            }
            Some(since) if since.elapsed() > PATIENCE => drop(child.kill()),
            _ => {}
        }
    };
    run.read_output().map_err(contact)?;
    if cancelled.is_some() || cancellation.is_cancelled() {
        let _ = control.shutdown(Shutdown::Write);
        // Only then is nothing left that could write.
        child.wait().map_err(contact)?;
        return Err(SandboxError::Cancelled);
    }
    ended
}

fn in_words(report: Report) -> Result<Status, SandboxError> {
    match report {
        Report::Exited(code) => Ok(Status::Exited(code)),
        Report::Signalled(signal) | Report::InitKilled(signal) => Ok(Status::Signalled(signal)),
        Report::SetupFailed(failure) => Err(SandboxError::Setup(failure)),
        Report::ExecFailed { program, errno } => Err(SandboxError::Exec {
            program,
            source: io::Error::from_raw_os_error(errno),
        }),
        Report::Started => Err(SandboxError::InitEnded),
    }
}

enum Heard {
    Nothing,
    Report(Report),
    Closed,
}

struct Watch<'a, F> {
    control: &'a UnixStream,
    pipes: [(Stream, Option<OwnedFd>); 2],
    output: F,
    /// Bytes of reports, up to where the next line is not complete.
    heard: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a, F: FnMut(Stream, &[u8])> Watch<'a, F> {
    fn new(control: &'a UnixStream, pipes: [OwnedFd; 2], output: F) -> io::Result<Self> {
        control.set_nonblocking(true)?;
        for pipe in &pipes {
            rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK)?;
        }
        let [stdout, stderr] = pipes;
        Ok(Self {
            control,
            pipes: [
                (Stream::Stdout, Some(stdout)),
                (Stream::Stderr, Some(stderr)),
            ],
            output,
            heard: Vec::new(),
            buffer: vec![0; 64 << 10],
        })
    }

    fn wait(
        &self,
        cancellation: Option<&Cancellation>,
        cancelled: Option<Instant>,
    ) -> io::Result<()> {
        let mut waits = vec![PollFd::new(self.control, PollFlags::IN)];
        let open = self.pipes.iter().filter_map(|(_, pipe)| pipe.as_ref());
        waits.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        waits
            .extend(cancellation.map(|wish| PollFd::from_borrowed_fd(wish.as_fd(), PollFlags::IN)));
        let patience = cancelled.map(|_| Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        });
        match poll(&mut waits, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is there, but not for ever: reports are heard in between.
    fn read_output(&mut self) -> io::Result<()> {
        for (stream, slot) in &mut self.pipes {
            for _ in 0..64 {
                let Some(pipe) = slot else { break };
                match rustix::io::read(&*pipe, &mut self.buffer) {
                    Ok(0) => *slot = None,
                    Ok(count) => (self.output)(*stream, &self.buffer[..count]),
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Returns the report that ends the run, once it was heard.
    fn read_reports(&mut self) -> io::Result<Heard> {
        match rustix::io::read(self.control, &mut self.buffer) {
            Ok(0) => return Ok(Heard::Closed),
            Ok(count) => self.heard.extend(&self.buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Heard::Nothing),
            Err(Errno::CONNRESET) => return Ok(Heard::Closed),
            Err(error) => return Err(error.into()),
        }
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            match serde_json::from_slice(&line)? {
                Report::Started => {}
                report => return Ok(Heard::Report(report)),
            }
        }
        Ok(Heard::Nothing)
    }
}
