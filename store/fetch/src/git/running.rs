//! A child process: watched while it runs, ended when nobody waits for it any more.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(3);
/// How long the process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_millis(300);
const MAXIMUM_OUTPUT_BYTES: usize = 128 << 20;
/// The end of what is said on standard error tells why; what comes before it is progress.
const KEPT_ERROR_BYTES: usize = 64 << 10;
const BUFFER_BYTES: usize = 64 << 10;

/// How a process ended.
pub(super) enum Ended {
    /// By itself.
    Exited(Output),
    /// Somebody cancelled it.
    Cancelled,
    /// It wrote nothing for too long.
    Silent,
    /// It wrote more than anybody reads.
    TooMuch,
}

/// What a process wrote.
pub(super) struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// A process of a group of its own, so that the helpers it starts end with it.
pub(super) struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    written: Arc<Written>,
}

/// How much was written, on both pipes and on standard output.
#[derive(Default)]
struct Written {
    all: AtomicU64,
    output: AtomicU64,
}

impl Running {
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let written = Arc::new(Written::default());
        let (output, error) = (child.stdout.take(), child.stderr.take());
        let (of_output, of_error) = (Arc::clone(&written), Arc::clone(&written));
        Ok(Running {
            child,
            stdout: Some(thread::spawn(move || collect_output(output, &of_output))),
            stderr: Some(thread::spawn(move || collect_end(error, &of_error))),
            written,
        })
    }

    /// Waits until the process ends, is cancelled, or writes nothing for as long as `idle`.
    pub fn finish(
        mut self,
        is_cancelled: &dyn Fn() -> bool,
        idle: Option<Duration>,
    ) -> io::Result<Ended> {
        let mut heard = (Instant::now(), 0);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(self.exited(status));
            }
            if is_cancelled() {
                return Ok(Ended::Cancelled);
            }
            if self.written.output.load(Ordering::Relaxed) > MAXIMUM_OUTPUT_BYTES as u64 {
                return Ok(Ended::TooMuch);
            }
            let written = self.written.all.load(Ordering::Relaxed);
            if written != heard.1 {
                heard = (Instant::now(), written);
            }
            if idle.is_some_and(|idle| heard.0.elapsed() > idle) {
                return Ok(Ended::Silent);
            }
            thread::sleep(POLL);
        }
    }

    fn exited(&mut self, status: ExitStatus) -> Ended {
        let all = |pipe: Option<JoinHandle<Vec<u8>>>| {
            pipe.and_then(|thread| thread.join().ok())
                .unwrap_or_default()
        };
        let stdout = all(self.stdout.take());
        let stderr = all(self.stderr.take());
        if stdout.len() > MAXIMUM_OUTPUT_BYTES {
            return Ended::TooMuch;
        }
        Ended::Exited(Output {
            status,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn send(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first, it ends its helpers and removes its lock files.
        for signal in [Signal::TERM, Signal::KILL] {
            if self.has_ended() {
                return;
            }
            self.send(signal);
            let asked = Instant::now();
            while asked.elapsed() < PATIENCE && !self.has_ended() {
                thread::sleep(POLL);
            }
        }
    }
}

/// Returns what comes from `pipe`, but no more than one byte above what is allowed.
fn collect_output(pipe: Option<impl Read>, written: &Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    read_all(pipe, |chunk| {
        written.all.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        written
            .output
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        let room = (MAXIMUM_OUTPUT_BYTES + 1).saturating_sub(bytes.len());
        bytes.extend_from_slice(&chunk[..room.min(chunk.len())]);
    });
    bytes
}

/// Returns the end of what comes from `pipe`.
fn collect_end(pipe: Option<impl Read>, written: &Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    read_all(pipe, |chunk| {
        written.all.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        bytes.extend_from_slice(chunk);
        let surplus = bytes.len().saturating_sub(KEPT_ERROR_BYTES);
        bytes.drain(..surplus);
    });
    bytes
}

/// Reads to the end, whatever is done with it: whoever writes is not kept waiting.
fn read_all(pipe: Option<impl Read>, mut take: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
