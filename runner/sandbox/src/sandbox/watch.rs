//! Listening to a run: reports, output, and the wish to stop.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::starter::Started;
use super::terminal::{self, CallerTerminal};
use super::{Status, Stream};
use crate::protocol::{Report, Usage};
use crate::{Cancellation, SandboxError};

/// How long a cancelled run may take to go before its watcher is killed too.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How often the size of a caller's window is looked at, and how long a cancelled run is waited
/// for at a time.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Listens until the run is over and returns how its command ended.
pub(super) fn watch(
    started: &mut Started,
    output: impl FnMut(Stream, &[u8]),
    cancellation: &Cancellation,
) -> Result<Ended, SandboxError> {
    let Some(pipes) = started.pipes.take() else {
        return Err(SandboxError::InitEnded);
    };
    let pipes = pipes.map(Some);
    listen(started, pipes, output, None, cancellation)
}

/// Listens to a run on `terminal`: what is typed at the caller's goes there, and what is shown
/// there goes to the caller's.
pub(super) fn watch_terminal(
    started: &mut Started,
    terminal: &OwnedFd,
    caller: &CallerTerminal<'_>,
    cancellation: &Cancellation,
) -> Result<Ended, SandboxError> {
    let contact = |source| SandboxError::Contact { source };
    let output = |_, bytes: &[u8]| {
        // A caller who is gone sees nothing.
        let _ = write_all(caller.output, bytes);
    };
    let pipes = [Some(terminal.try_clone().map_err(contact)?), None];
    let keyboard = Keyboard {
        caller,
        terminal,
        is_open: true,
    };
    listen(started, pipes, output, Some(keyboard), cancellation)
}

fn listen(
    started: &mut Started,
    pipes: [Option<OwnedFd>; 2],
    output: impl FnMut(Stream, &[u8]),
    keyboard: Option<Keyboard<'_>>,
    cancellation: &Cancellation,
) -> Result<Ended, SandboxError> {
    let contact = |source| SandboxError::Contact { source };
    let Started {
        process,
        control,
        requested,
        ..
    } = started;
    let mut run = Watch::new(control, pipes, output, keyboard).map_err(contact)?;
    let since = *requested;
    let mut cancelled: Option<Instant> = None;
    let ended = loop {
        let wait_for = cancelled.is_none().then_some(cancellation);
        run.wait(wait_for, cancelled).map_err(contact)?;
        run.read_output().map_err(contact)?;
        run.pass_on_keys().map_err(contact)?;
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
            Some(since) if since.elapsed() > PATIENCE => process.kill(),
            _ => {}
        }
    };
    run.read_output().map_err(contact)?;
    if cancelled.is_some() || cancellation.is_cancelled() {
        let _ = control.shutdown(Shutdown::Write);
        // Only then is nothing left that could write.
        process.wait();
        return Err(SandboxError::Cancelled);
    }
    let usage = run.usage;
    let until_executed = run.executed.map(|at| at.duration_since(since));
    ended.map(|status| Ended {
        status,
        usage,
        until_executed,
    })
}

/// How a run ended, and what it took where that was told.
pub(super) struct Ended {
    pub(super) status: Status,
    pub(super) usage: Option<Usage>,
    /// From the request for a process to the command being executed.
    pub(super) until_executed: Option<Duration>,
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
        Report::Started | Report::Used(_) => Err(SandboxError::InitEnded),
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
    keyboard: Option<Keyboard<'a>>,
    usage: Option<Usage>,
    /// When the command was heard of.
    executed: Option<Instant>,
    /// Bytes of reports, up to where the next line is not complete.
    heard: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a, F: FnMut(Stream, &[u8])> Watch<'a, F> {
    fn new(
        control: &'a UnixStream,
        pipes: [Option<OwnedFd>; 2],
        output: F,
        keyboard: Option<Keyboard<'a>>,
    ) -> io::Result<Self> {
        control.set_nonblocking(true)?;
        for pipe in pipes.iter().flatten() {
            rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK)?;
        }
        let [stdout, stderr] = pipes;
        Ok(Self {
            control,
            pipes: [(Stream::Stdout, stdout), (Stream::Stderr, stderr)],
            output,
            keyboard,
            usage: None,
            executed: None,
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
        let keyboard = self.keyboard.iter().filter(|keyboard| keyboard.is_open);
        waits.extend(
            keyboard.map(|keyboard| PollFd::from_borrowed_fd(keyboard.caller.input, PollFlags::IN)),
        );
        let ticks = cancelled.is_some() || self.keyboard.is_some();
        match poll(&mut waits, ticks.then_some(&TICK)) {
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
                    // So a terminal says that nobody has it open any more.
                    Err(Errno::IO) if self.keyboard.is_some() => *slot = None,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn pass_on_keys(&mut self) -> io::Result<()> {
        match &mut self.keyboard {
            Some(keyboard) => keyboard.pass_on(&mut self.buffer),
            None => Ok(()),
        }
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
                Report::Started => self.executed = Some(Instant::now()),
                Report::Used(usage) => self.usage = Some(usage),
                report => return Ok(Heard::Report(report)),
            }
        }
        Ok(Heard::Nothing)
    }
}

/// What is typed at the caller's terminal, on its way to the command's.
struct Keyboard<'a> {
    caller: &'a CallerTerminal<'a>,
    terminal: &'a OwnedFd,
    is_open: bool,
}

impl Keyboard<'_> {
    /// Passes on what was typed by now, and the size of the window.
    fn pass_on(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        terminal::follow_size(self.caller, self.terminal.as_fd());
        let mut wait = [PollFd::from_borrowed_fd(self.caller.input, PollFlags::IN)];
        let now = Timespec::default();
        if !self.is_open || poll(&mut wait, Some(&now)).unwrap_or(0) == 0 {
            return Ok(());
        }
        match rustix::io::read(self.caller.input, &mut *buffer) {
            // The caller's terminal is gone: the command is told as if it had been closed.
            Ok(0) | Err(Errno::IO) => {
                self.is_open = false;
                write_all(self.terminal.as_fd(), END_OF_INPUT)
            }
            Ok(count) => write_all(self.terminal.as_fd(), &buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The key that ends input at a terminal: Ctrl-D.
const END_OF_INPUT: &[u8] = &[4];

/// Writes everything, waiting where the other side is slow.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut wait = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
                let _ = poll(&mut wait, Some(&TICK));
            }
            // The command let go of its terminal: it reads no more.
            Err(Errno::IO) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
